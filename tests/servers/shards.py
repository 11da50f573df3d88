"""A shard's writer with a log of its own, in the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.model.batch import Batch
from iotd.model.instants import NEVER
from iotd.model.series import Found, Series
from iotd.shards.service import ShardService
from tests.servers.system import System, until


class MemoryCatalogue:
    """A catalogue that forgets everything with its process; numbers are given in the order of ``series``."""

    def __init__(self, series: Sequence[Series]) -> None:
        self._series: list[Series] = []
        self.keys: list[bytes] = []
        self.newest = np.full(0, NEVER)
        self.add(series)

    def add(self, series: Sequence[Series]) -> None:
        """Registers more series."""
        self._series += series
        self.keys += [one.key.encode() for one in series]
        self.newest = np.append(self.newest, np.full(len(series), NEVER))

    def series(self, number: int) -> Series:
        return self._series[number]

    def number_of(self, series: Series) -> int | None:
        return self._series.index(series) if series in self._series else None

    def labels(self, series: Series) -> Mapping[str, str]:
        return series.labels

    async def recover(self, found: Sequence[Found]) -> None:
        self.add([one.series for one in found])

    def of_location(self, location: str) -> list[int]:
        return [number for number, one in enumerate(self._series) if one.location == location]

    def describe(self, number: int) -> bytes:
        return self.keys[number]

    def number(self, description: bytes) -> int:
        return self.keys.index(description)


class Refused:
    """Keeps refused readings in memory."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, int, float]] = []
        """Number of the series, ms, value."""

    async def __call__(self, batch: Batch, reasons: Sequence[str]) -> None:
        columns = batch.series.tolist(), batch.times.tolist(), batch.values.tolist()
        self.kept += [(series, time, value) for series, time, value, _ in zip(*columns, reasons, strict=True)]


SYSTEM_ID = "0123456789abcdef"


class Writing:
    """One location's log and shard service; :meth:`append` is what the intake does."""

    def __init__(self, system: System, catalogue: MemoryCatalogue, folder: Path, location: str = "salon") -> None:
        self.catalogue = catalogue
        self.refused = Refused()
        self.log = EmbeddedLog(folder / "log", catalogue, budget=Budget(2**24), limit=2**28, required=["durable"])
        self.partition = self.log.partition(location)
        self.service = ShardService(
            system.topology.shard(location),
            self.log,
            catalogue,
            system=SYSTEM_ID,
            refuse=self.refused,
            settings=system.settings,
            state=folder,
        )
        self._location = location

    async def append(self, series: ArrayLike, times: ArrayLike, values: ArrayLike) -> int:
        """One record; returns its sequence once it is on disk."""
        numbers: NDArray[np.int32] = np.asarray(series, np.int32)
        stamps: NDArray[np.int64] = np.asarray(times, np.int64)
        sequence = await self.log.append(self._location, numbers, stamps, np.asarray(values, np.float64))
        np.maximum.at(self.catalogue.newest, numbers, stamps)
        return sequence

    async def reached(self, position: str, limit: float = 20) -> None:
        """Waits until a position is at the end of the log."""
        end = self.partition.end

        async def there() -> bool:
            return self.partition.positions.of(position) >= end

        await until(there, limit, f"{position} is {end}; the writer has: {self.service.state(taken=0, held=0)}")


@asynccontextmanager
async def writing(system: System, catalogue: MemoryCatalogue, folder: Path) -> AsyncIterator[Writing]:
    """A writer that runs."""
    rig = Writing(system, catalogue, folder)
    task = asyncio.create_task(rig.service.run())
    try:
        yield rig
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        await rig.log.close()
    if not isinstance(ended, asyncio.CancelledError):
        raise AssertionError("the writer ended") from ended
