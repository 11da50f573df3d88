"""Several daemons share the work, on other hosts than the shards and the archive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from iotd.stack.binaries import RedisBinaries
from tests.chaos import lab
from tests.servers.influxdb import InfluxServer
from tests.servers.needs import lacking

pytestmark = [pytest.mark.redis, pytest.mark.influxdb, pytest.mark.timeout(240)]


def test_daemons_on_their_own_hosts_share_the_rooms_and_one_that_would_share_a_room_is_refused(
    redis_binaries: RedisBinaries, influxdb: InfluxServer, tmp_path: Path
) -> None:
    if (reason := lab.lacks()) is not None:
        lacking("lab", reason)
    done = subprocess.run(
        lab.command([sys.executable, "-m", "tests.hosts.run", str(tmp_path)]),
        cwd=Path(__file__).parents[2],
        env={**os.environ, "IOTD_TEST_REDIS_DIR": str(redis_binaries.server.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
