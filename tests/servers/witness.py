"""A source that cannot be asked again, and the witness of what was acknowledged to it.

Its values are random and nowhere else: what is lost is lost. Before it hands over a batch it notes the readings in a
file, and after the acknowledgement the batch's number: so each acknowledged reading must be stored once with its value,
each other one at most once, and nothing else may be there. ``kind = "tests.servers.witness"`` in ``[sources.NAME]``.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from iotd.model.batch import Batch
from iotd.model.series import Series
from iotd.sources.base import Context, Intake

_GIVEN = struct.Struct("<BIiqd")
_ACKNOWLEDGED = struct.Struct("<BI")
SIZES = {0: _GIVEN.size, 1: _ACKNOWLEDGED.size}
"""Of a record, by its first byte."""


def source(name: str, options: Mapping[str, Any], context: Context) -> WitnessSource:
    """Options: ``witness`` (a file), ``sensors`` (of each location), ``every_ms``, ``places`` (all locations that there
    may ever be, in the order in which the file numbers them; without it, those that are served), and the shares of
    readings that are ``late`` (by up to ten minutes), ``old`` (by two to three hours), and that come ``early`` (by two
    minutes, so that they are held)."""
    return WitnessSource(
        name,
        Path(options["witness"]),
        context,
        sensors=int(options.get("sensors", 3)),
        every_ms=int(options.get("every_ms", 100)),
        places=options.get("places", context.locations),
        late=float(options.get("late", 0.0)),
        old=float(options.get("old", 0.0)),
        early=float(options.get("early", 0.0)),
    )


class WitnessSource:
    """Hands over a batch of each location now and then, each sensor at a moment of its own, some readings late."""

    def __init__(
        self,
        name: str,
        path: Path,
        context: Context,
        *,
        sensors: int,
        every_ms: int,
        places: Sequence[str],
        late: float,
        old: float,
        early: float,
    ) -> None:
        self.name = name
        self._path = path
        self._context = context
        self._sensors = sensors
        self._every_ms = every_ms
        self._places = {location: place for place, location in enumerate(places)}
        self._late = late
        self._old = old
        self._early = early
        self._rng = random.SystemRandom()

    async def run(self, intake: Intake) -> None:
        with self._path.open("ab", buffering=0) as out:
            batch = sum(1 for _ in records(self._path.read_bytes())) + 1  # a number that was not used before
            rng = self._rng
            locations = self._context.locations
            number = 0
            while True:
                for location in locations:
                    place = self._places[location]
                    series = [Series("temperature", location, f"w{n}") for n in range(self._sensors)]
                    numbers = await intake.register(series)
                    now = self._context.clock.now()
                    times = [now - self._ago() for _ in series]
                    values = [rng.choice((rng.uniform(-40, 60), rng.randrange(10_000) / 100)) for _ in series]
                    given = b"".join(
                        _GIVEN.pack(0, batch + number, place * 1_000 + n, time, value)
                        for n, (time, value) in enumerate(zip(times, values, strict=True))
                    )
                    out.write(given)
                    await intake.put(Batch(location, numbers, np.array(times, np.int64), np.array(values, np.float64)))
                    out.write(_ACKNOWLEDGED.pack(1, batch + number))
                    number += 1
                await self._context.clock.sleep(self._every_ms)

    def _ago(self) -> int:
        rng = self._rng
        kind = rng.random()
        if kind < self._late:
            return rng.randrange(1, 600_000)
        if kind < self._late + self._early:
            return -120_000 - rng.randrange(60_000)
        if kind < self._late + self._early + self._old:
            return rng.randrange(7_200_000, 10_800_000)
        return rng.randrange(self._every_ms)


@dataclass
class Given:
    """What was handed over of one series: by time (ms) the values that were acknowledged, and all that were given.

    Attributes:
        acknowledged: the last acknowledged value of each time.
        given: all values of each time in the order in which they were handed over, and whether they were acknowledged.
    """

    acknowledged: dict[int, float] = field(default_factory=dict)
    given: dict[int, list[tuple[float, bool]]] = field(default_factory=dict)

    def may_stand(self, time: int, held: Container[float], losable: Container[float]) -> tuple[set[float], bool]:
        """The values that a store may have at a time, and whether it must have one.

        The last acknowledged one stands, or one that came later without an acknowledgement; a held one never does.
        """
        allowed: set[float] = set()
        for value, acknowledged in reversed(self.given.get(time, ())):
            if value in held:
                continue
            allowed.add(value)
            if acknowledged and value not in losable:
                return allowed, True
        return allowed, False


def witnessed(path: Path, locations: Sequence[str]) -> dict[Series, Given]:
    """What the witness has noted, by its ``places``; of two acknowledged readings for one ms the later one stands."""
    batches: dict[int, list[tuple[int, int, float]]] = {}
    acknowledged: set[int] = set()
    for record in records(path.read_bytes() if path.exists() else b""):
        if record[0] == 0:
            _, batch, place, time, value = record
            batches.setdefault(batch, []).append((place, time, value))
        else:
            acknowledged.add(record[1])
    found: dict[Series, Given] = {}
    for batch, readings in batches.items():
        for place, time, value in readings:
            series = Series("temperature", locations[place // 1_000], f"w{place % 1_000}")
            its = found.setdefault(series, Given())
            its.given.setdefault(time, []).append((value, batch in acknowledged))
            if batch in acknowledged:
                its.acknowledged[time] = value
    return found


def records(data: bytes) -> Iterator[tuple[Any, ...]]:
    """What the file has noted, in order: (0, batch, place, time, value) of what was handed over, (1, batch) of what was
    acknowledged. The first byte of a record says its kind, and so its size (:data:`SIZES`)."""
    at = 0
    while at < len(data):
        form = _GIVEN if data[at] == 0 else _ACKNOWLEDGED
        if at + form.size > len(data):
            return  # cut short by a kill
        yield form.unpack_from(data, at)
        at += form.size


Readings = Mapping[Series, Mapping[int, Container[float]]]
"""By series and time (ms), values."""


@dataclass
class Outcome:
    """What became of the readings in one store.

    Attributes:
        due: readings that were acknowledged, one for each time of a series.
        missing: of these, not there, though they must be.
        altered: there with a value that can't be.
        strange: there, though nothing was handed over for that time, or held, or there twice.
        lost: not there, and among those that may be lost.
        first: the first reading that is wrong.
    """

    due: int = 0
    missing: int = 0
    altered: int = 0
    strange: int = 0
    lost: int = 0
    first: str | None = None

    @property
    def good(self) -> bool:
        return self.due > 0 and self.missing == self.altered == self.strange == 0

    def wrong(self, what: str, series: Series, time: int) -> None:
        self.first = self.first or f"{series.key} at {time} {what}"


def compare(
    found: Mapping[Series, Given],
    stored: Mapping[Series, Mapping[int, float]],
    *,
    held: Readings = MappingProxyType({}),
    losable: Readings = MappingProxyType({}),
) -> Outcome:
    """Compares what was handed over with what a store holds.

    Args:
        held: readings that iotd has set aside: they must not be in the store.
        losable: readings that only a part of the log had which was destroyed: they may be missing.
    """
    outcome = Outcome()
    for series, given in found.items():
        there = stored.get(series, {})
        outcome.due += len(given.acknowledged)
        for time in given.given:
            aside, gone = held.get(series, {}).get(time, ()), losable.get(series, {}).get(time, ())
            allowed, must = given.may_stand(time, aside, gone)
            if time not in there:
                if must:
                    outcome.missing += 1
                    outcome.wrong("is missing", series, time)
                elif given.may_stand(time, aside, ())[1]:
                    outcome.lost += 1
            elif there[time] not in allowed:
                outcome.altered += 1
                outcome.wrong(f"is {there[time]!r}, not {given.given[time]!r}", series, time)
        for time in there.keys() - given.given.keys():
            outcome.strange += 1
            outcome.wrong("was never handed over", series, time)
    return outcome
