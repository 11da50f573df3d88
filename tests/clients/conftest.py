"""A building for each module here, and one of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from iotd.stack.binaries import RedisBinaries
from tests.clients.building import Building, building


@pytest.fixture(scope="module")
def _servers(redis_binaries: RedisBinaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Building]:
    with building(redis_binaries, tmp_path_factory.mktemp("building")) as made:
        yield made


@pytest.fixture
async def house(_servers: Building) -> Building:
    """Shared by the tests of a module, which use sensors of their own."""
    if not _servers.started:
        await _servers.start()
    return _servers


@pytest.fixture
async def own_house(redis_binaries: RedisBinaries, tmp_path: Path) -> AsyncIterator[Building]:
    """For a test that kills the daemon, or changes the tokens."""
    with building(redis_binaries, tmp_path) as made:
        await made.start()
        yield made
