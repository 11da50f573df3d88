"""Times for what comes without one: that of its arrival, and no two readings of a sensor get the same.

What can't be taken gets its time here as well, for it may be taken later: then it must not stand where another reading
of its sensor does. Which sensor it is of may not be known yet. So it keeps its distance from all that has its topic or
its subject.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from iotd.model.errors import Refused
from iotd.model.observation import Columns, Message, Part, Subject


@dataclass(slots=True)
class Thing:
    """Something that can't be taken.

    Attributes:
        timed: it has a time of its own.
        arrived: ms, when it arrived; without a time of its own the first of its readings gets this one, and each
            further one of a subject the next.
    """

    part: Part
    why: Refused
    timed: bool
    arrived: int


class Arrivals:
    """What has been given to one source's readings and things, as far as it is not past."""

    def __init__(self, newest: Callable[[int], int]) -> None:
        """
        Args:
            newest: the newest time (ms) of a series, by its number.
        """
        self.newest = newest
        self._taken = 0
        self._held: dict[Hashable, int] = {}

    def held_upto(self, time: int) -> None:
        """Something of the source is held with this time (ms), of an earlier run."""
        self._taken = max(self._taken, time)

    def handover(
        self, messages: Sequence[Message], said: Columns, arrived: int, last: int, *, again: bool = False
    ) -> Handover:
        """The times of messages that come together.

        Args:
            said: by the messages, one after the other.
            arrived, last: ms: the first time to give, and the last.
            again: they may come again as they are, or have: each gets the time that it had, whatever came since.
        """
        return Handover(self, messages, said, arrived, last, again=again)

    def apart(self, numbers: Sequence[int], arrived: int, last: int, given: dict[int, int]) -> list[int]:
        """Times for readings, each of which its series has not got yet, as far ahead as a time may be.

        Args:
            numbers: of their series.
            given: by these, the newest times given in this handover; it is kept up to date.
        """
        times = []
        for number in numbers:
            before = given.get(number)
            if before is None:
                before = self.newest(number)
            given[number] = time = before + 1 if arrived <= before < last else arrived
            times.append(time)
        self._taken = max(self._taken, max(times, default=0))
        return times

    def begin(self, names: Collection[Hashable], arrived: int) -> int:
        """The first time (ms) for what is to be held and has one of these names: nothing of the source has got it."""
        return max(arrived, self._taken + 1, self.behind(names))

    def behind(self, names: Collection[Hashable]) -> int:
        """The first time (ms) behind all that is held and has one of these names."""
        return max([self._held[name] for name in names if name in self._held], default=-1) + 1

    def hold(self, names: Collection[Hashable], upto: int) -> None:
        """Something that has these names is held, and has times up to this one (ms)."""
        self._held.update(dict.fromkeys(names, upto))

    def forget(self, before: int) -> None:
        """What is past (ms) is not given again."""
        if self._held:
            self._held = {name: time for name, time in self._held.items() if time >= before}

    @property
    def open(self) -> bool:
        """Whether something is held whose time is not past."""
        return bool(self._held)


@dataclass(slots=True)
class _Unit:
    """A message, or a line of one, as it is held: its readings and things without a time.

    Attributes:
        names: of what may be its series: its topic, its subjects.
        readings: their places, and how many of its subject stand before each.
        span: how many times it needs.
    """

    names: set[Hashable]
    readings: list[tuple[int, int]] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)
    counts: Counter[Subject] = field(default_factory=Counter)
    span: int = 1

    def next(self, subject: Subject) -> int:
        """How many of this subject stand before the next one."""
        self.names.add(subject)
        before = self.counts[subject]
        self.counts[subject] += 1
        self.span = max(self.span, before + 1)
        return before


class Handover:
    """The times of what comes together; call it once.

    Attributes:
        things: what can't be taken, in its order.
    """

    def __init__(
        self, arrivals: Arrivals, messages: Sequence[Message], said: Columns, arrived: int, last: int, *, again: bool
    ) -> None:
        self._arrived = arrived
        self.things: list[Thing] = []
        self._arrivals = arrivals
        self._messages = messages
        self._ends = list(accumulate(map(len, messages)))
        self._said = said
        self._last = last
        self._again = again

    def __call__(self, places: Sequence[int], numbers: Sequence[int], refused: Mapping[int, Refused]) -> list[int]:
        """
        Args:
            places: among all that is said, of the readings that have no time of their own, ascending.
            numbers: of their series.
            refused: by their places, observations that can't be taken.

        Returns:
            The readings' times, ms.
        """
        arrivals = self._arrivals
        things = self._refused(refused)
        self.things = [thing for _, _, thing in things]
        untimed = [one for one in things if not one[-1].timed]
        if not self._again:
            arrivals.forget(self._arrived)
            if not untimed and not arrivals.open:
                return arrivals.apart(numbers, self._arrived, self._last, {})
        times = self._stamp(self._units(places, untimed), dict(zip(places, numbers, strict=True)))
        return [times[place] for place in places]

    def _stamp(self, units: Sequence[_Unit], number_at: Mapping[int, int]) -> dict[int, int]:
        arrivals, arrived, last = self._arrivals, self._arrived, self._last
        bound, free = (units, []) if self._again else _divided(units)
        begin = arrived
        if bound and not self._again:
            newest = [arrivals.newest(number_at[place]) for unit in bound for place, _ in unit.readings]
            begin = arrivals.begin({name for unit in bound for name in unit.names}, arrived)
            begin = min(max([begin, *(one + 1 for one in newest if one < last)]), last)
        times: dict[int, int] = {}
        given: dict[int, int] = {}
        for unit in free:  # as if the others were not there
            its = [place for place, _ in unit.readings]
            first = min(max(arrived, arrivals.behind(unit.names)), last)
            found = arrivals.apart([number_at[place] for place in its], first, last, given)
            times |= zip(its, found, strict=True)
        counts: Counter[Hashable] = Counter()
        for unit in bound:
            nth = max(counts[name] for name in unit.names)
            counts |= dict.fromkeys(unit.names, nth + unit.span)
            times |= {place: min(begin + nth + further, last) for place, further in unit.readings}
            for thing in unit.things:
                thing.arrived = min(begin + nth, last)
            if not self._again:
                arrivals.hold(unit.names, min(begin + nth + unit.span - 1, last))
        return times

    def _refused(self, refused: Mapping[int, Refused]) -> list[tuple[int, bool, Thing]]:
        """The things in their order, with their places, and whether it is an observation that stands there."""
        found = []
        for place, part, why in self._not_understood():
            found.append((place, False, Thing(part, why, False, self._arrived)))
        for place, why in refused.items():
            timed = self._said.times[place] is not None
            found.append((place, True, Thing(self._part(place), why, timed, self._arrived)))
        return sorted(found, key=lambda one: one[:2])

    def _not_understood(self) -> Iterator[tuple[int, Part, Refused]]:
        begin = 0
        for message, end in zip(self._messages, self._ends, strict=True):
            for place, part, why in message.refused():
                yield begin + place, part, why
            begin = end

    def _part(self, place: int) -> Part:
        at = bisect_right(self._ends, place)
        begin = self._ends[at - 1] if at else 0
        part = self._messages[at].part(place - begin)
        return part._replace(first=begin + part.first)

    def _units(self, places: Sequence[int], untimed: Sequence[tuple[int, bool, Thing]]) -> list[_Unit]:
        """What belongs together, in its order."""
        units: dict[Hashable, _Unit] = {}
        readings: list[tuple[int, bool, Thing | None]] = [(place, True, None) for place in places]
        for place, said, thing in sorted([*readings, *untimed], key=lambda one: one[:2]):
            part = self._part(place) if thing is None else thing.part
            # what was not understood stands by itself
            unit = units.setdefault((part.topic, part.first, None if said else len(units)), _Unit({part.topic}))
            if said:
                further = unit.next(self._said.subjects[self._said.which[place]])
                if thing is None:
                    unit.readings.append((place, further))
            if thing is not None:
                unit.things.append(thing)
        return list(units.values())


def _divided(units: Sequence[_Unit]) -> tuple[list[_Unit], list[_Unit]]:
    """Those that may be of a sensor of which something can't be taken, by any way of names; and the others."""
    bound = [unit for unit in units if unit.things]
    free = [unit for unit in units if not unit.things]
    names = {name for unit in bound for name in unit.names}
    while more := [unit for unit in free if not unit.names.isdisjoint(names)]:
        names |= {name for unit in more for name in unit.names}
        free = [unit for unit in free if unit.names.isdisjoint(names)]
    return [unit for unit in units if not unit.names.isdisjoint(names)], free
