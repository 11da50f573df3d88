"""A query on its way: windows of time, over all its shards at once and the archive, joined."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from iotd.model.aggregate import Aggregation
from iotd.model.batch import Times, Values
from iotd.model.buckets import Run
from iotd.model.calibration import Calibrations
from iotd.model.errors import ArchiveError, ArchiveMissing, ShardError
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.model.types import BUILT_IN, Types
from iotd.query.calibrating import Calibrating
from iotd.query.doubts import Doubts
from iotd.query.join import Known, Part, Range, Reach, assemble, joined, merge, missing, overtaken, parts
from iotd.query.marks import Marks
from iotd.query.result import Answer
from iotd.query.shard import Held, ShardSource
from iotd.stores.base import Found, Store

Plan = dict[Series, list[Part]]


class Query:
    """One selection over one range.

    What fails on the way is noted and stood in for (a replica for its master, the archive for a shard, a shard for the
    archive, as far as they reach), and what that leaves open is in the :meth:`answers`.

    Attributes:
        known: the sensors that shard or archive has, and how each is divided between them.
        calibrating: makes true values of raw ones; what :meth:`window` gives is calibrated.
    """

    def __init__(
        self,
        what: Selection,
        first: int,
        stop: int,
        *,
        shards: Mapping[str, ShardSource],
        archive: Store | None,
        marks: Callable[[], Marks],
        sensors: Collection[Series] = (),
        types: Types = BUILT_IN,
        calibrations: Callable[[], Calibrations] = Calibrations,
    ) -> None:
        """
        Args:
            first: ms, included; ``stop``: ms, not included.
            shards: a source for each location of the selection, not connected yet.
            marks: blocking; how far the archive is.
            sensors: those that there should be: a dead shard can't say which ones it holds.
            types: how the readings are shown.
            calibrations: blocking; how series are calibrated.
        """
        self.what = what
        self.first = first
        self.stop = stop
        self.known: dict[Series, Known] = {}
        self.archive = archive
        self.types = types
        self.calibrating = Calibrating(calibrations)
        self._shards = shards
        self._sensors = sensors
        self._read_marks = marks
        self._dead: dict[str, str] = {}
        self._archive_trouble: str | None = None
        self._archived: dict[Series, int] = {}
        self._doubts: Doubts | None = None
        self._marks = Marks()
        self._missing: dict[str, list[Range]] = {location: [] for location in what.locations}

    async def learn(self) -> None:
        """Finds the nodes to read from, the series, and how each is divided between shard and archive.

        Raises:
            StateError: how series are calibrated can't be read.
        """
        await self.calibrating.learn()
        # before the shards: a watermark that moves meanwhile is behind, which is always right
        marks = await asyncio.to_thread(self._read_marks)
        held = await asyncio.gather(*(self._learn_shard(shard) for shard in self._shards.values()))
        self.known = {sensor: marks.known(sensor, begins) for one in held for sensor, begins in one.items()}
        if self.archive is None or not self._needs_archive():
            return
        try:
            if marks.incarnation is not None and await self.archive.incarnation() not in (None, marks.incarnation):
                # a new bucket or file, behind the back of the daemon, which will notice too and archive all again
                marks = marks.made_anew()
                self.known = {sensor: marks.known(sensor, known.first) for sensor, known in self.known.items()}
            self._doubts = Doubts(self.what, self.archive, marks)
            self._archived = await self.archive.begins(self.what, self.first, self.stop - 1)
        except ArchiveMissing as e:
            if not marks.kept or marks.marks:
                self._archive_trouble = str(e)
                return
            self.archive = None  # a daemon works here, and has archived nothing yet
        except ArchiveError as e:
            self._archive_trouble = str(e)
            return
        self._marks = marks
        silent = {sensor for sensor in self._sensors if sensor.location in self._dead}
        gone = {sensor for key in marks.gone if (sensor := Series.from_key(key)) in self.what}
        for sensor in (self._archived.keys() | silent | gone) - self.known.keys():
            self.known[sensor] = marks.known(sensor, None)
        if (begins := min(self.begins.values(), default=self.stop)) > self.first:
            await self.doubted(self.first, min(begins, self.stop) - 1)

    async def _learn_shard(self, shard: ShardSource) -> dict[Series, int | None]:
        try:
            await shard.find()
            sensors = await shard.series(self.what)
            begins = await shard.begins(sensors)
        except ShardError:
            self._dead[shard.location] = shard.why or "no answer"
            return {}
        return {sensor: begins.get(sensor) for sensor in sensors}

    def _needs_archive(self) -> bool:
        lacking = set(self.what.locations) - {sensor.location for sensor in self.known}
        return bool(lacking) or any(known.boundary >= self.first for known in self.known.values())

    def reach(self, location: str) -> Reach:
        """Who can be asked about a location now."""
        return Reach(location not in self._dead, self.archive is not None and self._archive_trouble is None)

    @property
    def begins(self) -> dict[Series, int]:
        """The first reading (ms) of each sensor that has one; before the start of the query only if a shard said so."""
        found = {}
        for sensor, known in self.known.items():
            firsts = [first for first in (known.first, self._archived.get(sensor)) if first is not None]
            if firsts:
                found[sensor] = min(firsts)
        return found

    # ── readings as they came ──

    async def window(self, first: int, last: int, sensors: Collection[Series] | None = None) -> Found:
        """The readings from ``first`` to ``last`` (ms, both included), calibrated, of every sensor that has any there.

        Args:
            sensors: of these only; None: of all that are known.
        """
        wanted = self.known.keys() if sensors is None else sensors
        while True:
            plan = {s: parts(self.known[s], self.reach(s.location), first, last) for s in wanted}
            held, archived, doubted = await asyncio.gather(
                self._from_shards(plan), self._from_archive(plan), self.doubted(first, last)
            )
            if held is None or archived is None or doubted:
                continue  # who failed, or holds too little, is noted, so the next plan is another one
            found = _join(plan, held, archived)
            if (gone := await self._let_go(plan, held)) is None:
                continue
            for sensor, samples in gone.items():
                found[sensor] = merge(samples, found[sensor]) if sensor in found else samples
            return self.calibrating.readings(found)

    async def _from_shards(self, plan: Plan) -> dict[Series, list[Held]] | None:
        answers = await asyncio.gather(*(self._from_shard(shard, plan) for shard in self._shards.values()))
        if any(one is None for one in answers):
            return None
        return {sensor: pieces for one in answers if one is not None for sensor, pieces in one.items()}

    async def _from_shard(self, shard: ShardSource, plan: Plan) -> dict[Series, list[Held]] | None:
        wanted = [
            (sensor, part.first, part.last)
            for sensor, its in plan.items()
            for part in its
            if sensor.location == shard.location and part.source != "archive"
        ]
        if not wanted:
            return {}
        try:
            held = await shard.samples(wanted)
        except ShardError as e:
            self.shard_failed(shard.location, e)
            return None
        found: dict[Series, list[Held]] = {}
        for (sensor, _, _), piece in zip(wanted, held, strict=True):
            found.setdefault(sensor, []).append(piece)
        return found

    async def _from_archive(self, plan: Plan) -> Found | None:
        wanted = [(s, part) for s, its in plan.items() for part in its if part.source != "shard"]
        if not wanted or self.archive is None:
            return {}
        # one question for all sensors, whose parts end within moments of each other
        what = self.what.at({sensor.location for sensor, _ in wanted})
        try:
            first, last = min(part.first for _, part in wanted), max(part.last for _, part in wanted)
            return await self.archive.samples(what, first, last)
        except ArchiveError as e:
            self.archive_failed(e)
            return None

    async def _let_go(self, plan: Plan, held: Mapping[Series, list[Held]]) -> Found | None:
        """What retention took from the shards between plan and reading, from the archive."""
        gaps: Plan = {}
        for sensor, pieces in held.items():
            asked = [part for part in plan[sensor] if part.source != "archive"]
            for part, piece in zip(asked, pieces, strict=True):
                if gap := overtaken(self.known[sensor], part, piece.begins):
                    gaps.setdefault(sensor, []).append(Part(gap.first, gap.last, "archive"))
        if not gaps or not self.reach("").archive:
            return {}
        archived = await self._from_archive(gaps)
        return None if archived is None else _join(gaps, {}, archived)

    # ── aggregations ──

    async def shard_buckets(
        self, wanted: Sequence[tuple[Series, Aggregation, Run, int, int]]
    ) -> list[tuple[Times, Values]]:
        """What the shards compute of each (sensor, aggregation, run, first ms, last ms), in this order.

        Raises:
            ShardError: one failed, which is noted.
        """
        by_location: dict[str, list[int]] = {}
        for i, (sensor, *_) in enumerate(wanted):
            by_location.setdefault(sensor.location, []).append(i)

        async def one(location: str, places: list[int]) -> list[tuple[Times, Values]]:
            try:
                return await self._shards[location].buckets([wanted[i] for i in places])
            except ShardError as e:
                self.shard_failed(location, e)
                raise

        answers = await asyncio.gather(*(one(*item) for item in by_location.items()), return_exceptions=True)
        results: dict[int, tuple[Times, Values]] = {}
        for places, answer in zip(by_location.values(), answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            results.update(zip(places, answer, strict=True))
        return [results[i] for i in range(len(wanted))]

    async def expired(self, asked: Mapping[Series, int]) -> bool:
        """Whether retention has passed the ms from which on a shard was asked, for one of these sensors at least.

        Only where no watermark is known can it; then :attr:`known` says from now on where the shard begins.
        """
        if not self.reach("").archive:
            return False
        found = False
        for location, shard in self._shards.items():
            mine = [s for s in asked if s.location == location and self.known[s].mark is None]
            try:
                begins = await shard.begins(mine) if mine else {}
            except ShardError as e:
                self.shard_failed(location, e)
                return True
            for sensor, now in begins.items():
                first = self.known[sensor].first
                if first is not None and now > max(first, asked[sensor]):
                    self.known[sensor] = replace(self.known[sensor], first=now)
                    found = True
        return found

    # ── what failed, and what that leaves open ──

    async def doubted(self, first: int, last: int) -> bool:
        """Whether the archive was found to hold less of a range than it did; :attr:`known` says it from now on."""
        if self._doubts is None or not self.reach("").archive:
            return False
        try:
            doubtful = await self._doubts.doubtful(first, last)
        except ArchiveError as e:
            self.archive_failed(e)
            return True
        for sensor, ranges in doubtful.items():
            known = self.known.get(sensor) or self._marks.known(sensor, None)
            self.known[sensor] = replace(known, doubt=tuple(joined([*known.doubt, *ranges])))
        return bool(doubtful)

    def shard_failed(self, location: str, error: ShardError) -> None:
        """From now on the archive answers for this location, as far as it can."""
        self._dead[location] = str(error)

    def archive_failed(self, error: ArchiveError) -> None:
        """From now on the shards answer alone, as far back as they hold."""
        self._archive_trouble = str(error)

    def note_missing(self, first: int, last: int) -> None:
        """Notes what may be missing from ``first`` to ``last`` (ms, both included), as things are now."""
        for location in self.what.locations:
            reach = self.reach(location)
            if self.archive is None and reach.shard:
                continue  # what the shard does not hold is nowhere
            series: Iterable[Known] = [k for s, k in self.known.items() if s.location == location] or [Known()]
            for known in series:
                self._missing[location] += missing(known, reach, first, last)
            self._missing[location] = joined(self._missing[location])

    def answers(self) -> tuple[Answer, ...]:
        """Who answered so far, by location."""
        return tuple(
            Answer(location, shard.node, shard.role, tuple(self._missing[location]), self._why(location))
            for location, shard in self._shards.items()
        )

    def _why(self, location: str) -> str | None:
        dead = self._dead.get(location)
        reasons = [f"no node answers ({dead})"] if dead else []
        if self._archive_trouble and (dead or self._missing[location]):
            reasons.append(f"the archive does not answer ({self._archive_trouble})")
        if self._marks.elsewhere and self._missing[location]:
            reasons.append(f"what may be missing was archived in another archive: {self._marks.elsewhere}")
        if self._doubts is not None and (lost := self._doubts.why(location)) is not None:
            reasons.append(lost if self._missing[location] else f"{lost}; what is here of them is from the shard")
        return "; ".join(reasons) or None

    async def close(self) -> None:
        """Lets go of the shards' connections."""
        for shard in self._shards.values():
            await shard.close()


def _join(plan: Plan, held: Mapping[Series, list[Held]], archived: Found) -> Found:
    found: Found = {}
    for sensor, its in plan.items():
        pieces = ((piece.times, piece.values) for piece in held.get(sensor, ()))
        if (samples := assemble(its, pieces, archived.get(sensor))) is not None:
            found[sensor] = samples
    return found
