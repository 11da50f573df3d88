"""A state directory of version 0.1, made by commit 6c98609, is taken over: nothing that it alone held is lost."""

from __future__ import annotations

import sqlite3
import tarfile
from pathlib import Path

import pytest

from iotd.daemon.takeover import take_over_spool
from iotd.intake.catalogue import Catalogue
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.model.errors import StateError
from iotd.model.types import BUILT_IN
from iotd.sources.simulator.signal import values
from iotd.sources.simulator.source import Span, source_name

FIXTURE = Path(__file__).parents[1] / "fixtures" / "state-0.1.tar.xz"
"""Two locations with four sensors each; the servers of one were stopped, then the daemon was killed."""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    with tarfile.open(FIXTURE) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path


async def test_the_spool_goes_into_the_log_once(state: Path) -> None:
    with sqlite3.connect(state / "spool.sqlite") as db:
        held = dict(
            db.execute("SELECT location, sum(count) FROM entries JOIN lanes ON lanes.id = entries.id >> 40 GROUP BY 1")
        )
        spans = {name: Span(*rest) for name, *rest in db.execute("SELECT location, first_ms, last_ms FROM lanes")}
    db.close()
    assert held == {"salon": 20, "cuisine": 40}
    for opening in range(2):
        catalogue = Catalogue(state / "catalogue.sqlite")
        log = EmbeddedLog(state / "log", catalogue, budget=Budget(10**7), limit=10**9)
        try:
            await take_over_spool(state, log, catalogue, BUILT_IN)
            for location, count in held.items():
                records = await log.partition(location).read(0, 10**9)
                assert sum(map(len, records)) == count, opening
                for record in records:
                    for number in set(record.series.tolist()):
                        mine = record.series == number
                        series = catalogue.series(number)
                        assert series.location == location
                        assert record.values[mine].tolist() == values(1, series, record.times[mine]).tolist()
                assert Span.of(log.source_position(source_name(location))) == spans[location]
        finally:
            await log.close()
            catalogue.close()
    assert not (state / "spool.sqlite").exists()
    assert (state / "spool.sqlite.taken-over").exists()


async def test_a_spool_that_can_not_be_read_ends_the_start_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "spool.sqlite").write_bytes(b"no database at all, but something that was there" * 100)
    catalogue = Catalogue(tmp_path / "catalogue.sqlite")
    log = EmbeddedLog(tmp_path / "log", catalogue, budget=Budget(10**7), limit=10**9)
    with pytest.raises(StateError, match="move the file away"):
        await take_over_spool(tmp_path, log, catalogue, BUILT_IN)
    assert (tmp_path / "spool.sqlite").exists()
    assert log.partitions == ()
    await log.close()
    catalogue.close()
