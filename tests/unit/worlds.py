"""A series' world for property tests: whatever may happen to its shard and archive, as the daemon keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from iotd.query.join import Known, Range, joined

RETENTION = 40
END = 120


@dataclass
class World:
    """A series as the daemon keeps it: what was handed over, what the shard and the archive hold, and the notes."""

    truth: dict[int, float] = field(default_factory=dict)
    shard: dict[int, float] = field(default_factory=dict)
    archive: dict[int, float] = field(default_factory=dict)
    mark: int | None = None
    dirty: list[Range] = field(default_factory=list)

    def live(self, value: float) -> None:
        """A reading later than all others; retention takes what is old, which is archived by then."""
        time = max(self.truth, default=0) + 1
        if any(t <= time - RETENTION and not self.safe(t) for t in self.shard):
            self.archived()
        self.truth[time] = self.shard[time] = value
        self.shard = {t: v for t, v in self.shard.items() if t > time - RETENTION}

    def late(self, back: int, value: float) -> None:
        """A reading in the past, perhaps a new value for one that was there."""
        newest = max(self.truth, default=0)
        if not 0 < (time := newest - back) > newest - RETENTION:
            return
        self.truth[time] = self.shard[time] = value
        if self.mark is not None and time <= self.mark:
            self.dirty = joined([*self.dirty, Range(time, time)])

    def archived(self, count: int = 1000) -> None:
        """A pass of the archiver that comes as far as ``count`` readings."""
        for one in self.dirty:
            self.archive |= {t: v for t, v in self.shard.items() if one.within(t, t)}
        self.dirty = []
        for time in sorted(t for t in self.shard if self.mark is None or t > self.mark)[:count]:
            self.archive[time] = self.shard[time]
            self.mark = time

    def emptied(self) -> None:
        """All nodes of the shard lose their data; the spool writes again what the archive does not have."""
        self.shard = {t: self.truth[t] for t in self.shard if not self.safe(t)}

    def safe(self, time: int) -> bool:
        return self.mark is not None and time <= self.mark and not any(d.within(time, time) for d in self.dirty)

    def known(self, *, watermarks: bool) -> Known:
        first = min(self.shard, default=None)
        return Known(self.mark, tuple(self.dirty), first) if watermarks else Known(first=first)


events = st.one_of(
    st.tuples(st.just("live"), st.integers(1, 15), st.floats(0, 9)),
    st.tuples(st.just("late"), st.integers(0, RETENTION), st.floats(10, 19)),
    st.tuples(st.just("archived"), st.integers(1, 60), st.just(0.0)),
)
with_loss = st.one_of(events, st.tuples(st.just("emptied"), st.just(0), st.just(0.0)))


def lived(history: list[tuple[str, int, float]]) -> World:
    world = World()
    for kind, number, value in history:
        if kind == "live":
            for _ in range(number):
                world.live(value)
        elif kind == "late":
            world.late(number, value)
        elif kind == "archived":
            world.archived(number)
        else:
            world.emptied()
    return world
