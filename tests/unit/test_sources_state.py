"""What the daemon says of its sources: those that are expected, and those that have spoken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from iotd.config import load
from iotd.daemon.sources import Sources
from iotd.health.state import SourceState
from iotd.intake.catalogue import Catalogue
from iotd.intake.intake import Intake
from iotd.intake.summaries import SummaryStore
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.model.observation import Observation, Piece
from tests.clocks import SystemClock
from tests.intakes import close_intake, make_intake


@asynccontextmanager
async def made(folder: Path, **tables: Any) -> AsyncIterator[tuple[Intake, Sources]]:
    catalogue = Catalogue(folder / "catalogue.sqlite")
    log = EmbeddedLog(folder / "log", catalogue, budget=Budget(10**6), limit=10**8)
    intake = make_intake(folder, log, catalogue)
    settings = load(state_dir=folder, locations=["salon", "cuisine"], **tables)
    try:
        yield intake, Sources(settings, intake, SystemClock(), folder, summaries=SummaryStore(folder), history=False)
    finally:
        await log.close()
        close_intake(intake)
        catalogue.close()


def names(states: list[SourceState]) -> list[tuple[str, str | None]]:
    return [(one.name, one.location) for one in states]


async def test_simulators_are_sources_only_while_there_are_any(tmp_path: Path) -> None:
    async with made(tmp_path) as (_, sources):
        assert names(sources.states) == [("simulator salon", "salon"), ("simulator cuisine", "cuisine")]


async def test_with_another_source_nothing_speaks_of_simulated_sensors(tmp_path: Path) -> None:
    async with made(tmp_path, ingest={"listen": "127.0.0.1:9109"}) as (_, sources):
        assert sources.states == [SourceState("http", None, 0, 0, 0, 0, 0, None)]
        assert (sources.simulators, sources.silent) == ({}, [])


async def test_what_a_program_of_this_machine_says_is_there_once_it_has_spoken(tmp_path: Path) -> None:
    async with made(tmp_path, ingest={"listen": "127.0.0.1:9109"}) as (intake, sources):
        said = [Observation("temperature", "1", value, "salon") for value in (21.0, None, "warm")]
        await (await intake.of("local").observe([Piece("json", "", b"x", tuple(said))]))
        http, local = sources.states
    assert http.quiet_s is None
    assert (local.name, local.taken, local.held, local.nothing, local.timeless) == ("local", 1, 1, 1, 1)
    assert local.quiet_s is not None
    assert local.quiet_s < 60
