"""An intake as the daemon has it, over a log that the caller made."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from iotd.intake.accumulator import Accumulator
from iotd.intake.catalogue import Catalogue
from iotd.intake.guards import Limits
from iotd.intake.held import HeldStore
from iotd.intake.intake import Intake
from iotd.intake.requests import Requests
from iotd.intake.resolve import Assignment, Resolver
from iotd.intake.translate import Bounds
from iotd.intake.world import World
from iotd.log.base import Log
from iotd.model.instants import NEVER
from iotd.model.series import Series
from iotd.model.types import BUILT_IN

ROOMS: Mapping[str, tuple[str, ...]] = {"salon": (), "cuisine": ()}


def now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def world(
    rooms: Mapping[str, Iterable[str]] = ROOMS,
    *,
    limits: Limits | None = None,
    assignments: Mapping[str, Assignment] | None = None,
    series_limit: int = 10_000,
) -> World:
    """A world with these rooms, the built-in types, and a day that live readings may be late."""
    limits = limits or Limits(60_000)
    bounds = Bounds(limits.future, 86_400_000, ZoneInfo("UTC"))
    return World(Resolver(BUILT_IN, rooms, assignments or {}), BUILT_IN, limits, bounds, series_limit)


def make_intake(
    folder: Path,
    log: Log,
    catalogue: Catalogue,
    *,
    seen: World | None = None,
    linger_s: float = 0.02,
    answer_s: float = 0.005,
    now_ms: Callable[[], int] = now,
    locations: Iterable[str] = ROOMS,
) -> Intake:
    """The intake; :func:`close_intake` closes its files."""
    made = Intake(
        log,
        catalogue,
        HeldStore(folder / "held.sqlite", lambda: 1 << 20),
        Requests(folder / "requests.sqlite"),
        accumulator=Accumulator(log, linger_s=linger_s, answer_s=answer_s),
        world=seen or world(),
        now_ms=now_ms,
    )
    made.locations.update(locations)
    return made


def close_intake(intake: Intake) -> None:
    """Closes its files."""
    intake.held.close()
    intake.requests.close()


class HeldReading(NamedTuple):
    """A reading that a guard or a shard has refused."""

    series: Series
    time: int
    value: float
    reason: str


def held_readings(state: Path, *, but: Collection[str] = ()) -> list[HeldReading]:
    """Those that are held in a state directory, which a daemon may be using.

    Args:
        but: sources whose readings are left out.
    """
    path = state / "held.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
        rows = db.execute("SELECT payload, reason, source FROM held WHERE form = 'json' ORDER BY id").fetchall()
    found = []
    for payload, reason, source in rows:
        if source in but:
            continue
        said = json.loads(payload)
        series = Series(said["type"], said["location"], said["sensor"])
        found.append(HeldReading(series, said["time"], float(said["value"]), reason))
    return found


class FewSeries:
    """A catalogue of at most 64 series, in memory."""

    def __init__(self, *series: Series) -> None:
        self._series = list(series)
        self.newest = np.full(64, NEVER, np.int64)
        self.pauses = np.zeros(64)
        self.values: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._series)

    def series(self, number: int) -> Series:
        return self._series[number]

    def number_of(self, series: Series) -> int | None:
        return self._series.index(series) if series in self._series else None

    def of_location(self, location: str) -> list[int]:
        return [number for number, one in enumerate(self._series) if one.location == location]

    def latest(self, number: int) -> float | None:
        return self.values.get(number)
