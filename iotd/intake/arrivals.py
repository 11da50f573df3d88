"""Times for what comes without one: that of its arrival, and no two readings of a sensor get the same.

What can't be taken gets its time here as well, for it may be taken later: then it must not stand where another reading
of its sensor does. Which sensor it is of may not be known yet. So it keeps its distance from all that has its topic or
its subject.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from iotd.model.errors import Refused
from iotd.model.instants import NEVER
from iotd.model.observation import Columns, Message, Part, Subject, Together


@dataclass(slots=True)
class Thing:
    """Something that can't be taken.

    Attributes:
        place: among all that is said; of what could not be understood that of the observation that comes next.
        said: whether it is an observation.
        timed: it has a time of its own.
        arrived: ms, when it arrived; without a time of its own the first of its readings gets this one, and each
            further one of a subject the next.
    """

    place: int
    said: bool
    part: Part
    why: Refused
    timed: bool
    arrived: int


class Arrivals:
    """What has been given to one source's readings and things, as far as it is not past."""

    def __init__(self, newest: Callable[[int], int], held: int = 0) -> None:
        """
        Args:
            newest: the newest time (ms) of a series, by its number.
            held: something of the source is held with this time (ms), of an earlier run.
        """
        self.newest = newest
        self._taken = held
        self._held: dict[Hashable, int] = {}

    def stamping(
        self, messages: Sequence[Message], said: Columns, arrived: int, last: int, *, again: bool = False
    ) -> Stamping:
        """Gives times to messages that come together.

        Args:
            said: by the messages, one after the other.
            arrived, last: ms: the first time to give, and the last.
            again: they may come again as they are, or have: each gets the time that it had, whatever came since.
        """
        arrivals = Arrivals(lambda number: NEVER) if again else self
        return Stamping(arrivals, messages, said, arrived, last, again=again)

    def apart(self, numbers: Sequence[int], arrived: int, last: int, given: dict[int, int]) -> list[int]:
        """Times for readings, each of which its series has not got yet, as far ahead as a time may be.

        Args:
            numbers: of their series.
            given: by these, the newest times given so far to what comes together; it is kept up to date.
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


class Stamping:
    """Gives times to what comes together; call it once.

    Attributes:
        things: what can't be taken, in its order.
    """

    def __init__(
        self, arrivals: Arrivals, messages: Sequence[Message], said: Columns, arrived: int, last: int, *, again: bool
    ) -> None:
        self.things: list[Thing] = []
        self._arrivals = arrivals
        self._messages = Together(messages)
        self._said = said
        self._arrived = arrived
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
        arrivals.forget(self._arrived)
        self.things = self._refused(refused)
        untimed = [thing for thing in self.things if not thing.timed]
        if not (untimed or arrivals.open or self._again):
            return arrivals.apart(numbers, self._arrived, self._last, {})
        times = self._stamp(self._units(places, untimed), dict(zip(places, numbers, strict=True)))
        return [times[place] for place in places]

    def _stamp(self, units: Sequence[_Unit], number_at: Mapping[int, int]) -> dict[int, int]:
        arrivals, begin, last = self._arrivals, self._arrived, self._last
        bound, free = (units, []) if self._again else _divided(units)
        if bound:
            newest = [arrivals.newest(number_at[place]) for unit in bound for place, _ in unit.readings]
            begin = arrivals.begin({name for unit in bound for name in unit.names}, begin)
            begin = min(max([begin, *(one + 1 for one in newest if one < last)]), last)
        times: dict[int, int] = {}
        given: dict[int, int] = {}
        for unit in free:  # as if the others were not there
            its = [place for place, _ in unit.readings]
            first = min(max(self._arrived, arrivals.behind(unit.names)), last)
            found = arrivals.apart([number_at[place] for place in its], first, last, given)
            times |= zip(its, found, strict=True)
        counts: Counter[Hashable] = Counter()
        for unit in bound:
            nth = max(counts[name] for name in unit.names)
            counts |= dict.fromkeys(unit.names, nth + unit.span)
            times |= {place: min(begin + nth + further, last) for place, further in unit.readings}
            for thing in unit.things:
                thing.arrived = min(begin + nth, last)
            arrivals.hold(unit.names, min(begin + nth + unit.span - 1, last))
        return times

    def _refused(self, refused: Mapping[int, Refused]) -> list[Thing]:
        """The things in their order."""
        arrived, said = self._arrived, self._said
        found = [Thing(place, False, part, why, False, arrived) for place, part, why in self._messages.refused()]
        found += [
            Thing(place, True, self._messages.part(place), why, said.times[place] is not None, arrived)
            for place, why in refused.items()
        ]
        return sorted(found, key=lambda one: (one.place, one.said))

    def _units(self, places: Sequence[int], untimed: Sequence[Thing]) -> list[_Unit]:
        """What belongs together, in its order."""
        units: dict[Hashable, _Unit] = {}
        readings: list[tuple[int, bool, Thing | None]] = [(place, True, None) for place in places]
        things = [(thing.place, thing.said, thing) for thing in untimed]
        for place, said, thing in sorted([*readings, *things], key=lambda one: one[:2]):
            part = self._messages.part(place) if thing is None else thing.part
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
