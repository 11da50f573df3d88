"""From what a source says to readings: which series, what value, which time; or why not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from types import NoneType
from typing import cast

import numpy as np
from numpy.typing import NDArray

from iotd.intake.moments import UNSET_BEFORE, moment_of
from iotd.intake.targets import Target, Targets
from iotd.intake.values import says_nothing, value_of
from iotd.model.batch import Batch, Numbers, Times, Values
from iotd.model.errors import Ignored, Refused
from iotd.model.observation import Columns, Moment
from iotd.model.series import Series

Register = Callable[[Sequence[Series], Mapping[Series, str]], Awaitable[Numbers]]
"""Numbers of series in the catalogue, given the units that they came in where these are others; durable when it
returns."""

Stamp = Callable[[Sequence[int], Sequence[int], Mapping[int, Refused]], Sequence[int]]
"""Gives times (ms) to readings, given their places, the numbers of their series, and what is refused, by its place."""

_MANY = 16
"""Observations for which arrays are worth it."""
LATEST = 2**61
"""ms: no time may be later, whatever the bounds are."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which times a source may give.

    Attributes:
        future, past: ms that a time may be ahead of our clock, or behind the arrival; None: any. What is handed over
            as a backlog, and what is imported, may be as old as it is.
        zone: of times that have none.
    """

    future: int
    past: int | None
    zone: tzinfo


@dataclass(slots=True)
class Readings:
    """What has become of some observations.

    Attributes:
        batches: of each location one, in the order in which they were said.
        refused: by their place among the observations: why they can't be taken.
        nothing: how many said that there is no value, or are ignored.
        timeless: how many had no time, and got that of their arrival.
        ambiguous: how many had a local time that there was twice, and got the first.
    """

    batches: list[Batch] = field(default_factory=list)
    refused: dict[int, Refused] = field(default_factory=dict)
    nothing: int = 0
    timeless: int = 0
    ambiguous: int = 0


async def translate(
    said: Columns,
    arrived: int,
    *,
    targets: Targets,
    bounds: Bounds,
    register: Register,
    admit: Callable[[Series], None],
    stamp: Stamp | None = None,
) -> Readings:
    """Makes readings of observations.

    Args:
        arrived: ms; what has no time of its own gets this one. It is ours, so it is within all bounds.
        stamp: gives times to what has none of its own; None: all get ``arrived``.

    Raises:
        StateError: new series can't be registered.
    """
    found = Readings()
    if not len(said):
        if stamp is not None:
            stamp([], [], {})
        return found
    reading = _Reading(said, arrived, targets, bounds, found)
    taken = reading.taken()
    await _number(reading, taken, register, admit)
    taken = taken[[at not in found.refused for at in taken.tolist()]] if found.refused else taken
    if stamp is not None:
        reading.stamp(taken, stamp)
    found.batches = _by_location(reading, taken)
    return found


class _Reading:
    """Observations on their way; ``times`` and ``values`` hold for those that are taken.

    Attributes:
        its: the targets, by the index of their subjects.
        originals: units of single values, by series.
    """

    def __init__(self, said: Columns, arrived: int, targets: Targets, bounds: Bounds, found: Readings) -> None:
        self.which = np.array(said.which, np.intp)
        self.its: dict[int, Target | Refused] = {}
        self.originals: dict[Series, str] = {}
        self.times: Times = np.zeros(len(said), np.int64)
        self.values: Values = np.zeros(len(said))
        self.timeless = np.zeros(len(said), np.bool_)
        self._said = said
        self._arrived = arrived
        self._bounds = bounds
        self._found = found
        for index in set(said.which):
            try:
                self.its[index] = targets.of(said.subjects[index])
            except Refused as e:
                self.its[index] = e

    def taken(self) -> NDArray[np.intp]:
        """Reads values and times; the places of those that can be taken, in their order."""
        sure = self._surely() if len(self._said) >= _MANY else np.zeros(len(self._said), np.bool_)
        for at in np.flatnonzero(~sure).tolist():
            sure[at] = self._one(at)
        return np.flatnonzero(sure)

    def _surely(self) -> NDArray[np.bool_]:
        """Which are taken as they are: what :meth:`_one` finds, for many at once."""
        said, bounds = self._said, self._bounds
        count = max(self.its) + 1
        plain, whole = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        low, high = np.zeros(count), np.zeros(count)
        for index, target in self.its.items():
            if isinstance(target, Target) and target.plain:
                plain[index], whole[index] = True, target.row.kind == "state"
                low[index], high[index] = target.row.range
        numbers = _are((float, int), said.values)
        ints, none = _are((int,), said.times), _are((NoneType,), said.times)
        try:
            floats = cast("list[float]", [value for value in said.values if type(value) in (float, int)])
            self.values[numbers] = floats
            self.times[ints] = [time for time in said.times if type(time) is int]
        except OverflowError:  # a time that no log has a place for, or a number past the largest float
            return np.zeros(len(said), np.bool_)
        self.times[none] = self._arrived
        first = UNSET_BEFORE if bounds.past is None else max(UNSET_BEFORE, self._arrived - bounds.past)
        in_time = (self.times >= first) & (self.times <= min(self._arrived + bounds.future, LATEST))
        sure = numbers & (none | (ints & in_time)) & plain[self.which] & np.isfinite(self.values)
        sure &= (self.values >= low[self.which]) & (self.values <= high[self.which])
        sure &= ~whole[self.which] | (self.values == np.floor(self.values))
        self.timeless = sure & none
        self._found.timeless += int(self.timeless.sum())
        return sure

    def _one(self, at: int) -> bool:
        value = self._said.values[at]
        if says_nothing(value):
            self._found.nothing += 1
            return False
        target = self.its[self._said.which[at]]
        if isinstance(target, Ignored):
            self._found.nothing += 1
            return False
        try:
            if isinstance(target, Refused):
                raise target
            read = value_of(value, target.row, target.unit)
            time = self._time(self._said.times[at])
        except Refused as e:
            self._found.refused[at] = e
            return False
        self.values[at] = read.number
        self.times[at], self.timeless[at] = (self._arrived, True) if time is None else (time, False)
        if read.original_unit is not None:
            self.originals[target.series] = read.original_unit
        return True

    def _time(self, said: object) -> int | None:
        moment = moment_of(Moment(said) if type(said) is int else said, self._bounds.zone)
        if moment is None:
            self._found.timeless += 1
            return None
        ms, bounds = moment.ms, self._bounds
        if ms > min(self._arrived + bounds.future, LATEST):
            raise Refused("in the future", f"its time is {ms - self._arrived} ms ahead of our clock")
        if bounds.past is not None and ms < self._arrived - bounds.past:
            raise Refused("too old", f"its time is {self._arrived - ms} ms behind; import it, or raise intake.past")
        self._found.ambiguous += moment.ambiguous
        return ms

    def stamp(self, taken: NDArray[np.intp], stamp: Stamp) -> None:
        """Gives what is taken and has no time of its own one."""
        places = taken[self.timeless[taken]].tolist()
        self.times[places] = stamp(places, [self._number(at) for at in places], self._found.refused)

    def _number(self, at: int) -> int:
        target = self.its[self._said.which[at]]
        assert isinstance(target, Target)
        assert target.number is not None
        return target.number

    def refuse(self, index: int, taken: NDArray[np.intp], why: Refused) -> None:
        """Takes nothing of this subject after all."""
        self._found.refused |= dict.fromkeys(taken[self.which[taken] == index].tolist(), why)


def _are(kinds: Collection[type], column: list[object]) -> NDArray[np.bool_]:
    if set(map(type, column)) <= set(kinds):
        return np.ones(len(column), np.bool_)
    return np.array([type(one) in kinds for one in column], np.bool_)


async def _number(
    reading: _Reading, taken: NDArray[np.intp], register: Register, admit: Callable[[Series], None]
) -> None:
    """Gives the targets of what is taken their numbers; what may have none is refused."""
    new: list[Target] = []
    for index in dict.fromkeys(reading.which[taken].tolist()):
        target = reading.its[index]
        assert isinstance(target, Target)
        if target.number is not None:
            continue
        try:
            admit(target.series)
        except Refused as e:
            reading.refuse(index, taken, e)
        else:
            new.append(target)
    if new:
        numbers = await register([target.series for target in new], reading.originals)
        for target, number in zip(new, numbers.tolist(), strict=True):
            target.number = number


def _by_location(reading: _Reading, taken: NDArray[np.intp]) -> list[Batch]:
    if not len(taken):
        return []
    which = reading.which[taken]
    numbers = np.zeros(max(reading.its) + 1, np.int32)
    place = np.zeros(len(numbers), np.intp)
    locations: dict[str, int] = {}
    for index in dict.fromkeys(which.tolist()):
        target = reading.its[index]
        assert isinstance(target, Target)
        assert target.number is not None
        numbers[index] = target.number
        place[index] = locations.setdefault(target.series.location, len(locations))
    whole = numbers[which], reading.times[taken], reading.values[taken]
    if len(locations) == 1:
        return [Batch(next(iter(locations)), *whole)]
    where = place[which]
    return [Batch(name, *(column[where == number] for column in whole)) for name, number in locations.items()]
