"""A log against a model: crashes, lost ends, flipped bits and lost catalogues, in any order.

Never an altered reading, never a sequence twice in one epoch; damage costs what it hits, and is named.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from iotd.log.active import Call
from iotd.log.base import Append, Delete, Deletion, Record
from iotd.log.core import Core
from iotd.log.disk import Disk
from iotd.log.epochs import IN_SEGMENT
from iotd.log.frame import HEADER
from iotd.log.record import RecordItem
from iotd.log.recovery import WITNESS
from iotd.log.segment import Found, scan, segment_numbers, segment_path
from iotd.model.errors import IotdError
from tests.unit.logs import Catalogue, flip

LOCATIONS = ("salon", "cuisine", "chambre1")
SOURCES = ("simulator", "mqtt")

Drawn = tuple[list[tuple[str, list[tuple[int, int, float]], bool]], list[tuple[str, bytes]]]
"""A call: readings per location, or the deletion of their series over their times; positions of sources."""
Content = tuple[tuple[str, int, float], ...]
"""Readings as (series' description, time, value); a deletion as (DELETED + series' description, first, last)."""
DELETED = "deleted "


class Crash(BaseException):
    """The process ends here."""


class CrashingDisk(Disk):
    """Counts what it does, and crashes when told; knows which bytes were synced."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.paths: dict[int, Path] = {}
        self.synced: dict[Path, int] = {}

    def _step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Crash

    def create(self, path: Path) -> int:
        self._step()
        fd = super().create(path)
        self.paths[fd], self.synced[path] = path, 0
        return fd

    def open(self, path: Path) -> int:
        fd = super().open(path)
        self.paths[fd] = path
        return fd

    def write(self, fd: int, data: bytes, offset: int) -> None:
        self._step()
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        self._step()
        path = self.paths[fd]
        if path.suffix in {".seg", ".tmp"}:
            self.synced[path] = self.size(path)

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        source.replace(target)
        self.synced[target] = self.synced.pop(source, 0)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)
        self.synced.pop(path, None)

    def sync_folder(self, folder: Path) -> None:
        pass


@dataclass
class Checkpoint:
    location: str
    epoch: str
    sequence: int
    holds: dict[int, Content]
    opening: int


rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**41), st.floats(allow_nan=False)), min_size=0, max_size=6)
calls = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.sampled_from(LOCATIONS), rows, st.integers(0, 4).map(lambda n: n == 4)), min_size=1, max_size=3
        ),
        st.lists(st.tuples(st.sampled_from(SOURCES), st.binary(max_size=5)), max_size=2),
    ),
    min_size=1,
    max_size=3,
)


class LogMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.names = [f"series {n}" for n in range(6)]
        self.given: dict[tuple[str, int], Content] = {}
        self.maybe: dict[tuple[str, int], Content] = {}  # written when it crashed: may be there or not
        self.truncated = dict.fromkeys(LOCATIONS, 0)
        self.lost: set[tuple[str, int]] = set()
        self.used: set[tuple[str, str, int]] = set()
        self.epochs: set[str] = set()
        self.checkpoints: list[Checkpoint] = []
        self.positions: dict[str, bytes] = {}
        self.maybe_positions: dict[str, set[bytes]] = {}
        self.position_history: dict[str, set[bytes]] = {}
        self.flipped: set[str] = set()
        self.openings = 0
        self.open()

    def open(self) -> None:
        self.disk = CrashingDisk()
        self.catalogue = Catalogue(*self.names)
        self.core = Core(self.folder, self.catalogue, self.disk, segment_size=1500)
        self.openings += 1
        assert self.core.epoch.id not in self.epochs
        self.epochs.add(self.core.epoch.id)

    def teardown(self) -> None:
        if hasattr(self, "core"):
            self.core.close()
            shutil.rmtree(self.folder)

    # ── what goes in ──

    def made(self, drawn: Sequence[Drawn]) -> list[Call]:
        made = []
        for appends, positions in drawn:
            columns: list[Append | Delete] = []
            for location, given, deletes in appends:
                series = np.array([self.catalogue.number(f"series {r[0]}".encode()) for r in given], np.int32)
                times = np.array([r[1] for r in given], np.int64)
                if deletes and given:
                    columns.append(Delete(location, series, int(times.min()), int(times.max())))
                else:
                    columns.append(Append(location, series, times, np.array([r[2] for r in given], np.float64)))
            made.append(Call(columns, positions))
        return made

    def content(self, append: Append | Delete | Record | Deletion) -> Content:
        if isinstance(append, Record) and append.deletion is not None:
            return self.content(append.deletion)
        names = [self.catalogue.names[n] for n in append.series.tolist()]
        if isinstance(append, Delete | Deletion):
            return tuple((DELETED + name, append.first, float(append.last)) for name in names)
        return tuple(zip(names, append.times.tolist(), append.values.tolist(), strict=True))

    @rule(commits=st.lists(calls, min_size=1, max_size=6), checkpoint=st.none() | st.sampled_from(LOCATIONS))
    def append(self, commits: list[list[Drawn]], checkpoint: str | None) -> None:
        for drawn in commits:
            self.commit(drawn)
        if checkpoint is not None:
            self.checkpoint_now(checkpoint)

    def commit(self, drawn: list[Drawn]) -> None:
        made = self.made(drawn)
        for call, outcome in zip(made, self.core.commit(made), strict=True):
            assert not isinstance(outcome, IotdError)
            for append, place in zip(call.appends, outcome, strict=True):
                if place is None:
                    continue
                key = (append.location, self.core.epoch.id, place.sequence)
                assert key not in self.used
                self.used.add(key)
                assert place.sequence > self.core.ends.get(append.location, 0)
                self.given[append.location, place.sequence] = self.content(append)
                self.core.appended(append.location, place)
            for source, position in call.positions:
                self.positions[source] = position
                self.position_history.setdefault(source, set()).add(position)

    @rule(drawn=calls, steps=st.integers(0, 6), share=st.floats(0, 1), witness=st.booleans())
    def append_and_crash(
        self,
        drawn: list[Drawn],
        steps: int,
        share: float,
        witness: bool,
    ) -> None:
        made = self.made(drawn)
        ends = dict(self.core.ends)
        for call in made:
            for append in call.appends:
                if len(append.series):
                    ends[append.location] = ends.get(append.location, 0) + 1
                    self.maybe[append.location, ends[append.location]] = self.content(append)
            for source, position in call.positions:
                self.maybe_positions.setdefault(source, set()).add(position)
                self.position_history.setdefault(source, set()).add(position)
        self.disk.left = steps
        with contextlib.suppress(Crash):
            self.core.commit(made)
        self.crash(share, witness)

    def crash(self, share: float, witness: bool) -> None:
        """Of what was not synced any prefix is there, and the witness may be an older one, or none."""
        self.disk.left = None
        self.core.close()
        for path, synced in self.disk.synced.items():
            if path.exists():
                data = path.read_bytes()
                path.write_bytes(data[: synced + int((len(data) - synced) * share)])
        if not witness:
            (self.folder / WITNESS).unlink(missing_ok=True)
        self.reopen_and_check(set())

    # ── what goes out ──

    @rule(
        location=st.sampled_from(LOCATIONS),
        share=st.floats(0, 1),
        steps=st.none() | st.integers(0, 12),
        cut=st.floats(0, 1),
    )
    def truncate(self, location: str, share: float, steps: int | None, cut: float) -> None:
        upto = int(self.core.ends.get(location, 0) * share)
        if upto <= self.core.truncated.get(location, 0):
            return
        self.truncated[location] = max(upto, self.truncated[location])
        index = self.core.index(location)
        readings = index.counted(upto)
        index.truncate(upto)
        self.core.truncated[location] = upto
        self.disk.left = steps
        try:
            self.core.writer.truncate(location, upto, readings)
            self.core.writer.reclaim()
            moved = self.core.rewrite()
            if moved is not None:
                self.core.moved(moved)
                self.core.writer.drop(moved.segments)
        except Crash:
            self.crash(cut, True)
        self.disk.left = None

    def checkpoint_now(self, location: str) -> None:
        end = self.core.ends.get(location, 0)
        holds = {s: content for (name, s), content in self.given.items() if name == location and s <= end}
        self.checkpoints.append(Checkpoint(location, self.core.epoch.id, end, holds, self.openings))

    # ── what goes wrong ──

    @rule(shuffled=st.permutations(range(6)))
    def another_catalogue(self, shuffled: list[int]) -> None:
        self.names = [f"series {n}" for n in shuffled]
        self.core.close()
        self.reopen_and_check(set())

    @rule(which=st.just(1.0) | st.floats(0, 1), share=st.floats(0, 1), witness=st.booleans())
    def lose_the_end(self, which: float, share: float, witness: bool) -> None:
        """A file ends earlier, with all that was acknowledged behind it."""
        self.core.close()
        numbers = segment_numbers(self.folder)
        number = numbers[min(int(which * len(numbers)), len(numbers) - 1)]
        path = segment_path(self.folder, number)
        data = path.read_bytes()
        size = int(len(data) * share)
        hit = {key for offset, end, found in self.frames(data) if end > size for key in self.records(found)}
        path.write_bytes(data[:size])
        silent = not witness
        if silent:
            (self.folder / WITNESS).unlink(missing_ok=True)
        self.flipped.add(path.name)  # one fault a file: definitions are there twice, not three times
        self.reopen_and_check(hit, silent=silent, shortened=True)

    @rule(which=st.floats(0, 1), share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def flip_a_bit(self, which: float, share: float, bit: int) -> None:
        paths = sorted(p for p in self.folder.iterdir() if p.name not in self.flipped and p.stat().st_size)
        if not paths:
            return
        self.core.close()
        path = paths[min(int(which * len(paths)), len(paths) - 1)]
        data = path.read_bytes()
        offset = int(len(data) * share)
        hit = set()
        if path.suffix == ".seg":
            self.flipped.add(path.name)
            for start, end, found in self.frames(data):
                if start <= offset < end:
                    hit = self.records(found)
        flip(path, offset, bit)
        self.reopen_and_check(hit, flipped=True)

    def frames(self, data: bytes) -> list[tuple[int, int, Found]]:
        found = [part for part in scan(data) if isinstance(part, Found)]
        return [(f.offset, f.offset + HEADER + f.head.length, f) for f in found]

    def records(self, found: Found) -> set[tuple[str, int]]:
        names = {number: name for name, number in self.core.state.partitions.items()}
        return {(names[i.partition], i.sequence) for i in found.items if isinstance(i, RecordItem)}

    @rule()
    def reopen(self) -> None:
        self.core.close()
        self.reopen_and_check(set())

    @rule(steps=st.integers(0, 12), share=st.floats(0, 1))
    def crash_while_opening(self, steps: int, share: float) -> None:
        self.core.close()
        disk = CrashingDisk()
        disk.left = steps
        with contextlib.suppress(Crash):
            Core(self.folder, Catalogue(*self.names), disk, segment_size=1500).close()
        self.openings += 1
        self.disk = disk
        self.crash(share, True)

    # ── what must hold ──

    def held(self, location: str) -> dict[int, Content]:
        places = self.core.index(location).places(0, 2**62)
        outcome = self.core.read(places)
        self.core.lost(location, outcome)
        found = {record.sequence: self.content(record) for record in outcome.records}
        deletions = [place.sequence for place in self.core.index(location).deletions(0)]
        assert deletions == [s for s, content in found.items() if content[0][0].startswith(DELETED)]
        return found

    def reopen_and_check(
        self, hit: set[tuple[str, int]], silent: bool = False, shortened: bool = False, flipped: bool = False
    ) -> None:
        self.open()
        fault = silent or shortened or flipped
        for location in LOCATIONS:
            held = self.held(location)
            for sequence, content in held.items():
                key = (location, sequence)
                if key not in self.given:
                    assert key in self.maybe, f"{key} was never given"
                    self.given[key] = self.maybe[key]
                assert content == self.given[key], f"{key} was altered"
            self.check_losses(location, held, hit, silent, shortened)
            self.check_checkpoints(location, held)
        self.maybe.clear()
        for source in SOURCES:
            found = self.core.source_positions.get(source)
            last = self.positions.get(source)
            if fault:
                assert found is None or found in self.position_history[source]
            else:
                assert found == last or found in self.maybe_positions.get(source, ())
            if found is None:
                self.positions.pop(source, None)
            else:
                self.positions[source] = found
        self.maybe_positions.clear()

    def check_losses(
        self, location: str, held: dict[int, Content], hit: set[tuple[str, int]], silent: bool, shortened: bool
    ) -> None:
        truncated = self.truncated[location]
        named: set[int] = set()
        for damage in self.core.damage:
            if damage.partition != location:
                continue
            sequences = set(range(damage.first, damage.last + 1))
            named |= sequences
            assert not sequences & held.keys(), "what is there is not lost"
            known = {s: self.given[location, s] for s in sequences if (location, s) in self.given}
            if damage.readings is not None and len(known) == len(sequences) and min(sequences) > truncated:
                rows = [row for content in known.values() for row in content]
                assert damage.readings == sum(not name.startswith(DELETED) for name, *_ in rows)
        given = {s for name, s in self.given if name == location and s > truncated}
        missing = given - held.keys()
        for sequence in missing:
            key = (location, sequence)
            assert key in hit or key in self.lost, f"{key} is gone, and nothing had hit it"
            assert sequence in named or silent, f"{key} is gone without a word"
        self.lost |= {(location, s) for s in missing} | {key for key in hit if key[0] == location}
        if shortened:  # that something was truncated may be lost too
            self.lost |= {(location, s) for s in named}
        else:
            extra = {s for s in named if (location, s) not in self.lost}
            assert not extra, f"{location} {extra} is said to be lost, and never was given"
        for sequence in missing - named:
            # nobody can know of it any more: the sequence is given again, in another epoch
            del self.given[location, sequence]
            self.lost.discard((location, sequence))
        if not silent:
            assert self.core.ends.get(location, 0) >= max(given, default=0)

    def check_checkpoints(self, location: str, held: dict[int, Content]) -> None:
        for checkpoint in self.checkpoints:
            if checkpoint.location != location:
                continue
            proven = self.core.position_of(
                location, checkpoint.epoch, checkpoint.sequence, self.core.ends.get(location, 0)
            )
            if proven is None:  # the file of epochs was lost, and segments have the newest ones only
                assert self.openings - checkpoint.opening >= IN_SEGMENT
                continue
            assert proven <= checkpoint.sequence
            for sequence, content in held.items():
                if sequence <= proven:
                    assert checkpoint.holds.get(sequence) == content, "a checkpoint proves what its holder never had"
        assert self.core.position_of(location, "1-0123456789abcdef", 5, 9) is None

    @invariant()
    def all_is_there(self) -> None:
        if not hasattr(self, "core"):
            return
        for location in LOCATIONS:
            for sequence, content in self.held(location).items():
                assert content == self.given[location, sequence]


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestLogMachine.pytestmark = [pytest.mark.timeout(600)]  # type: ignore[attr-defined]
