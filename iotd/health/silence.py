"""How often each sensor speaks, learned from what it says, and which ones have been silent for too long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from iotd.config.sections.sources import Silence as SilenceSettings
from iotd.model.batch import Numbers, Times
from iotd.model.instants import NEVER, milliseconds
from iotd.model.series import Series
from iotd.model.types import Types

HALF_LIFE_MS = 86_400_000.0
"""After a day, a longest pause counts half: a sensor that speaks more often now is missed sooner."""
FORGOTTEN = -1.0
"""In place of a pause: the sensor is not expected any more."""
_LEARNED = 8
"""Pauses after which a rhythm is known."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a silence may last: ``factor`` times the usual longest pause, within bounds (ms)."""

    factor: float
    least: int
    most: int


class Rhythms:
    """Of each series, by number: its newest time, and its longest pause as of late.

    Arrays throughout: a batch of a hundred readings costs some twenty µs.
    """

    def __init__(self) -> None:
        self._newest: NDArray[np.int64] = np.full(64, NEVER, np.int64)
        self._pause: NDArray[np.float64] = np.zeros(64, np.float64)
        self._seen: NDArray[np.int64] = np.zeros(64, np.int64)

    def begin(self, newest: Times, pauses: NDArray[np.float64]) -> None:
        """Goes on from what was saved: newest times and longest pauses (ms) by number; 0 where none is known."""
        self._grow(len(newest))
        known = pauses > 0
        self._newest[: len(newest)] = newest
        self._pause[: len(newest)] = pauses
        self._seen[: len(newest)][known] = _LEARNED

    def note(self, series: Numbers, times: Times, longest: Times) -> None:
        """Readings were taken, of each series one. One that is not newer than the newest of its series says nothing of
        a pause.

        Args:
            longest: of each, ms: no pause before it was longer.
        """
        if not len(series):
            return
        self._grow(int(series.max()) + 1)
        before = self._newest[series]
        last = np.maximum(times, before)
        known = before > NEVER
        gaps = np.where(known, np.minimum(times - before, longest), 0)
        old = self._pause[series] * np.where(known, _decay(last - np.maximum(before, 0)), 0.0)
        self._pause[series] = np.maximum(gaps, old)
        self._seen[series] += gaps > 0
        self._newest[series] = last

    def pauses(self, count: int) -> NDArray[np.float64]:
        """The longest pauses (ms) of the first so many series, 0 where the rhythm is not known yet."""
        self._grow(count)
        return np.where(self._seen[:count] >= _LEARNED, self._pause[:count], 0.0)

    def silent(self, numbers: Numbers, now: int, patience: Patience, begun: int = 0) -> list[tuple[int, int, int]]:
        """Those of some series that are silent: number, since when (ms), and how long would be usual (ms).

        Args:
            begun: ms: before that nobody listened.
        """
        if not len(numbers):
            return []
        self._grow(int(numbers.max()) + 1)
        usual = np.clip(patience.factor * self._pause[numbers], patience.least, patience.most)
        usual = np.where(self._seen[numbers] >= _LEARNED, usual, patience.most)
        since = self._newest[numbers]
        found = np.flatnonzero((since > NEVER) & (now - np.maximum(since, begun) > usual))
        return [(int(numbers[at]), int(since[at]), int(usual[at])) for at in found]

    def forget(self, number: int) -> None:
        """A sensor is not expected any more."""
        if number < len(self._newest):
            self._newest[number], self._pause[number], self._seen[number] = NEVER, 0.0, 0

    def _grow(self, count: int) -> None:
        if count <= len(self._newest):
            return
        more = max(count, 2 * len(self._newest)) - len(self._newest)
        self._newest = np.append(self._newest, np.full(more, NEVER, np.int64))
        self._pause = np.append(self._pause, np.zeros(more))
        self._seen = np.append(self._seen, np.zeros(more, np.int64))


@dataclass(frozen=True, slots=True)
class SilentSensor:
    """A sensor that has said nothing for longer than it used to.

    Attributes:
        types: of which it said something before.
        since: its newest time, ms.
        usual: how long a silence of it may be, ms.
        battery, rssi: what it last said of itself; None: it never did.
        name: given by people; empty: none.
    """

    location: str
    sensor: str
    types: tuple[str, ...]
    since: int
    usual: int
    battery: float | None
    rssi: float | None
    name: str = ""


class Catalogue(Protocol):
    """What is to be known of series."""

    newest: Times
    pauses: NDArray[np.float64]

    def __len__(self) -> int: ...
    def series(self, number: int) -> Series: ...
    def number_of(self, series: Series) -> int | None: ...
    def of_location(self, location: str) -> Sequence[int]: ...
    def latest(self, number: int) -> float | None: ...


class Silence:
    """Watches the catalogue: a look a second is enough, whatever comes in."""

    def __init__(self, catalogue: Catalogue, now_ms: Callable[[], int]) -> None:
        self._catalogue = catalogue
        self._now_ms = now_ms
        self._begun = now_ms()
        self._rhythms = Rhythms()
        self._forgotten: set[int] = set()
        count = len(catalogue)
        self._seen = catalogue.newest[:count].copy()
        self._heard = self._seen.copy()
        self._rhythms.begin(self._seen, np.maximum(catalogue.pauses[:count], 0.0))
        for number in np.flatnonzero(catalogue.pauses[:count] == FORGOTTEN).tolist():
            self.forget(number)

    def look(self) -> None:
        """Learns from what came since the last look."""
        count, now = len(self._catalogue), self._now_ms()
        newest = self._catalogue.newest[:count]
        new = np.full(count - len(self._seen), NEVER, np.int64)
        changed = np.flatnonzero(newest > np.append(self._seen, new)).astype(np.int32)
        self._heard = np.append(self._heard, new)
        # what is imported, or comes from a backlog, was silent for no longer than we have not heard of it
        self._rhythms.note(changed, newest[changed], now - self._heard[changed])
        self._heard[changed] = now
        self._seen = newest.copy()
        self._forgotten.difference_update(changed.tolist())
        self._catalogue.pauses[:count] = self._rhythms.pauses(count)
        self._catalogue.pauses[list(self._forgotten)] = FORGOTTEN

    def forget(self, number: int) -> None:
        """A sensor of this series is not expected any more, until it speaks again."""
        self._rhythms.forget(number)
        self._forgotten.add(number)
        self._catalogue.pauses[number] = FORGOTTEN

    def silent(self, locations: Iterable[str], patience: Callable[[str], Patience | None]) -> list[SilentSensor]:
        """The sensors of these locations that are silent.

        Args:
            patience: with a type; None: it may be silent for ever.
        """
        now = self._now_ms()
        found: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
        for location in locations:
            by_type: dict[str, list[int]] = {}
            for number in self._catalogue.of_location(location):
                by_type.setdefault(self._catalogue.series(number).type, []).append(number)
            for kind, numbers in by_type.items():
                if (limit := patience(kind)) is None:
                    continue
                for number, since, usual in self._rhythms.silent(np.array(numbers, np.int32), now, limit, self._begun):
                    sensor = self._catalogue.series(number).sensor_id
                    found.setdefault((location, sensor), []).append((kind, since, usual))
        return [self._sensor(*key, its) for key, its in found.items()]

    def _sensor(self, location: str, sensor: str, its: list[tuple[str, int, int]]) -> SilentSensor:
        types = tuple(kind for kind, _, _ in its)
        since, usual = max(since for _, since, _ in its), min(usual for _, _, usual in its)
        battery, rssi = (self._latest(kind, location, sensor) for kind in ("battery", "rssi"))
        return SilentSensor(location, sensor, types, since, usual, battery, rssi)

    def _latest(self, kind: str, location: str, sensor: str) -> float | None:
        number = self._catalogue.number_of(Series(kind, location, sensor))
        return None if number is None else self._catalogue.latest(number)


def _decay(ms: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.exp2(-ms.astype(np.float64) / HALF_LIFE_MS)


def patience_of(silence: SilenceSettings, types: Types, kind: str) -> Patience | None:
    """How long sensors of a type may be silent; None: for ever, as a door that nobody opens."""
    its = silence.types.get(kind)
    if its is None and types.row(kind).kind == "state":
        return None
    if its is not None and not its.watched:
        return None
    factor = (its and its.factor) or silence.factor
    least, most = (its and its.least) or silence.least, (its and its.most) or silence.most
    return Patience(factor, milliseconds(least), milliseconds(most))
