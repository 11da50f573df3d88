"""What every source keeps to: readings once and unaltered, its position with them, nothing lost by a kill."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from iotd.config import Settings
from iotd.intake.catalogue import Catalogue
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.model.series import Series
from iotd.model.types import BUILT_IN
from iotd.sources.base import Context, Source
from iotd.sources.registry import make_source
from iotd.sources.simulator.signal import values
from iotd.sources.simulator.source import Simulator
from tests.clocks import SystemClock
from tests.intakes import close_intake, make_intake
from tests.servers.system import until

LOCATIONS = ("salon", "cuisine")

Reading = tuple[Series, int, float]


class Core:
    """Intake, catalogue and log of one run."""

    def __init__(self, folder: Path) -> None:
        self.catalogue = Catalogue(folder / "catalogue.sqlite")
        self.log = EmbeddedLog(folder / "log", self.catalogue, budget=Budget(10**7), limit=10**9)
        self.intake = make_intake(folder, self.log, self.catalogue)

    async def readings(self) -> list[Reading]:
        """All that is in the log, in its order."""
        found: list[Reading] = []
        for location in self.log.partitions:
            partition, after = self.log.partition(location), 0
            while page := await partition.read(after, 1_000_000):
                for record in page:
                    columns = (record.series.tolist(), record.times.tolist(), record.values.tolist())
                    found += [(self.catalogue.series(n), t, v) for n, t, v in zip(*columns, strict=True)]
                after = page[-1].sequence
        return found


@asynccontextmanager
async def core(folder: Path) -> AsyncIterator[Core]:
    made = Core(folder)
    try:
        yield made
    finally:
        await made.log.close()
        close_intake(made.intake)
        made.catalogue.close()


class Case(Protocol):
    """A source, and what it has to hand over."""

    def make(self, core: Core) -> Source: ...

    def feed(self) -> list[Reading]:
        """Gives it more to hand over, and returns that; empty for one that goes by the clock."""

    def right(self, readings: Iterable[Reading]) -> bool:
        """Whether these are readings that it may have handed over."""


class CsvCase:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "readings.csv"
        self.context = Context(SystemClock(), LOCATIONS, BUILT_IN, folder)
        self.written: list[Reading] = []

    def make(self, core: Core) -> Source:
        return make_source("meters", "csv_tail", {"path": str(self.path)}, self.context)

    def feed(self) -> list[Reading]:
        first = 1_790_000_000_000 + len(self.written)
        more = [
            (Series("co2", LOCATIONS[n % 2], f"probe, {n % 5}"), first + n, (first + n) % 9_999 / 7)
            for n in range(2_000)
        ]
        with self.path.open("a", encoding="utf-8") as f:
            f.writelines(f'{t},{s.location},{s.type},"{s.sensor_id}",{v!r}\n' for s, t, v in more)
        self.written += more
        return more

    def right(self, readings: Iterable[Reading]) -> bool:
        return set(readings) <= set(self.written)


class SimulatorCase:
    def __init__(self, folder: Path) -> None:
        self.settings = Settings.model_validate(
            {"sensors": {"interval": "10ms", "types": ["temperature", "humidity"], "per_type": 2}}
        )

    def make(self, core: Core) -> Source:
        return Simulator(self.settings, "salon", core.intake.of("simulator salon"), SystemClock())

    def feed(self) -> list[Reading]:
        return []

    def right(self, readings: Iterable[Reading]) -> bool:
        import numpy as np

        return all(
            t % 10 == 0 and float(values(1, s, np.array([t], np.int64))[0]) == v for s, t, v in list(readings)[-400:]
        )


CASES: dict[str, Callable[[Path], Case]] = {"csv_tail": CsvCase, "simulator": SimulatorCase}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return CASES[request.param](tmp_path)


@asynccontextmanager
async def running(source: Source, core: Core) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(source.run(core.intake.of(source.name)))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def has(core: Core, source: Source, wanted: list[Reading], more_than: int = 0) -> None:
    async def there() -> bool:
        found = await core.readings()
        return len(found) > more_than and set(wanted) <= set(found)

    await until(there, 20, f"{source.name} has handed over all")


async def test_every_reading_comes_once_and_unaltered(case: Case, tmp_path: Path) -> None:
    async with core(tmp_path) as one:
        source = case.make(one)
        wanted = case.feed()
        async with running(source, one):
            await has(one, source, wanted)
            wanted += case.feed()
            await has(one, source, wanted)
        await one.intake.settled()
        found = await one.readings()
        assert len(found) == len(set(found))
        assert case.right(found)


async def test_it_goes_on_behind_what_was_committed(case: Case, tmp_path: Path) -> None:
    wanted: list[Reading] = []
    seen = 0
    for _ in range(3):
        async with core(tmp_path) as one:
            source = case.make(one)
            wanted += case.feed()
            async with running(source, one):
                await has(one, source, wanted, seen)
            await one.intake.settled()
            assert one.intake.position(source.name) is not None
            seen = len(await one.readings())
    async with core(tmp_path) as one:
        found = await one.readings()
        assert len(found) == len(set(found))
        assert case.right(found)


async def test_a_kill_at_any_moment_loses_nothing_and_doubles_nothing(case: Case, tmp_path: Path) -> None:
    wanted: list[Reading] = []
    for turn in range(6):
        async with core(tmp_path) as one:
            source = case.make(one)
            wanted += case.feed()
            async with running(source, one):
                for _ in range(turn * 3):
                    await asyncio.sleep(0)
    async with core(tmp_path) as one:
        source = case.make(one)
        async with running(source, one):
            await has(one, source, wanted)
        await one.intake.settled()
        found = await one.readings()
        # what was under way at a kill may come again with the same time and value, which is one reading in every store
        assert case.right(found)
        assert set(wanted) <= set(found)


async def test_odd_lines_are_held_with_the_reason(tmp_path: Path) -> None:
    case = CsvCase(tmp_path)
    async with core(tmp_path) as one:
        source = case.make(one)
        case.path.write_text(
            "time,location,type,sensor,value\nnonsense\n1790000000000,attic,co2,1,400\n1790000000000,salon,love,1,1\n"
            "2026-09-21T14:13:20Z,salon,co2,1,nan\n2026-09-21T14:13:20+00:00,salon,co2,1,401\n17900"
        )
        async with running(source, one):
            await has(one, source, [(Series("co2", "salon", "1"), 1_790_000_000_000, 401.0)])
        await one.intake.settled()
        held = await one.intake.held.page()
        assert [(h.reason, h.payload[:8]) for h in held[:1]] == [("not a line of this form", b"nonsense")]
        assert [h.reason for h in held[1:]] == ["unknown location", "unknown type"]
        assert one.intake.counts["meters"].nothing == 1
