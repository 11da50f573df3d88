"""Points that the archive refuses for good: kept in the dead-letter file, and sent again on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from iotd.archive.expected import clusters
from iotd.archive.state import ArchiveState
from iotd.model.errors import ArchiveRejected, ArchiveTooLarge, ArchiveUnavailable
from iotd.model.series import Series
from iotd.ops.deadletters import DeadLetters
from iotd.ops.loggers import get_logger
from iotd.ops.systemerrors import said
from iotd.stores.base import Store
from iotd.stores.points import Points

log = get_logger(__name__)

_AT_ONCE = 1000
_NEAR_MS = 60_000


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of the dead letters: points that the archive has now, and those that it refuses still.

    Attributes:
        foreign: lines in the file that are another archive's, or nothing we wrote; they stay as they are.
    """

    accepted: int
    refused: int
    foreign: int


class Rejects:
    """The dead-letter file of one store."""

    def __init__(self, store: Store, letters: DeadLetters, state: ArchiveState) -> None:
        self._store = store
        self._letters = letters
        self._state = state
        self._turn = asyncio.Lock()
        self.standing = 0
        """Points that are in the file, as far as they are this store's."""

    async def begin(self) -> None:
        """Finds out how many points are in the file from earlier runs.

        Raises:
            ArchiveUnavailable: the state can't be read.
        """
        self.standing = await asyncio.to_thread(self._state.rejected_count, self._store.identity)

    @property
    def count(self) -> int:
        """Points put into the file since the start."""
        return self._letters.count

    async def add(self, batch: Sequence[Points], reason: str) -> None:
        """Puts points into the file; one that was refused before is there already.

        Raises:
            ArchiveUnavailable: the file can't be written, so that the points may not be passed.
        """
        async with self._turn:
            try:
                count = await asyncio.to_thread(self._add, batch, reason)
            except OSError as e:
                raise ArchiveUnavailable(f"{self._letters.path}: can't be written ({said(e)})") from None
            await self.begin()
        if count:
            log.warning(
                "archive_rejected",
                store=self._store.identity,
                count=count,
                reason=reason,
                kept=str(self._letters.path),
                hint="`iotd archive retry-rejected` sends them again",
            )

    async def retry(self) -> Retried:
        """Sends all again; what the archive takes leaves the file, and its times become dirty.

        Raises:
            ArchiveUnavailable, ArchiveRefused: not now; nothing was changed, or a part of it, which is no harm.
        """
        async with self._turn:
            letters = await asyncio.to_thread(self._read)
            ours = [letter for letter in letters if letter.points is not None]
            refused: list[_Letter] = []
            for n in range(0, len(ours), _AT_ONCE):
                refused += await self._send(ours[n : n + _AT_ONCE])
            await asyncio.to_thread(self._forget, letters, ours, refused)
            await self.begin()
        log.info("rejected_retried", accepted=len(ours) - len(refused), refused=len(refused))
        return Retried(len(ours) - len(refused), len(refused), len(letters) - len(ours))

    async def forget(self, series: Series, first: int, last: int) -> None:
        """Takes out the letters of a range (ms, both ends included) that was deleted, so that none is sent again.

        Raises:
            ArchiveUnavailable: the file can't be written.
        """
        async with self._turn:
            try:
                await asyncio.to_thread(self._take_out, series, first, last)
            except OSError as e:
                raise ArchiveUnavailable(f"{self._letters.path}: can't be written ({said(e)})") from None

    def _take_out(self, series: Series, first: int, last: int) -> None:
        letters = self._read()
        left = [
            letter.line
            for letter in letters
            if (points := letter.points) is None or points.sensor != series or not first <= points.first <= last
        ]
        if len(left) < len(letters):
            self._letters.replace(left)

    async def _send(self, letters: Sequence[_Letter]) -> list[_Letter]:
        # returns those that are refused again
        try:
            await self._store.write([letter.points for letter in letters if letter.points is not None])
        except (ArchiveRejected, ArchiveTooLarge):
            if len(letters) == 1:
                return list(letters)
            middle = len(letters) // 2
            return await self._send(letters[:middle]) + await self._send(letters[middle:])
        return []

    def _add(self, batch: Sequence[Points], reason: str) -> int:
        count = 0
        for points in batch:
            known = self._state.rejected(self._store.identity, points.sensor, points.first, points.last)
            new = [sample for sample in points.samples() if sample[0] not in known]
            letters = [_letter(self._store.identity, points.sensor, time, value) for time, value in new]
            count += self._letters.add(letters, reason)
            self._state.reject(self._store.identity, [(points.sensor, time) for time, _ in new])
        return count

    def _read(self) -> list[_Letter]:
        try:
            lines = self._letters.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [_Letter(line, _points(line, self._store.identity)) for line in lines if line.strip()]

    def _forget(self, letters: Sequence[_Letter], sent: Sequence[_Letter], refused: Sequence[_Letter]) -> None:
        gone = {id(letter) for letter in sent} - {id(letter) for letter in refused}
        if not gone:
            return
        taken = [letter.points for letter in sent if letter.points is not None and id(letter) in gone]
        # what a shard holds at these times by now is what stands: it is archived once more
        self._state.note_dirty(_ranges(taken))
        self._letters.replace(letter.line for letter in letters if id(letter) not in gone)
        self._state.accept(self._store.identity, [(points.sensor, points.first) for points in taken])


@dataclass(frozen=True, slots=True)
class _Letter:
    line: str
    points: Points | None


def _letter(store: str, sensor: Series, time: int, value: bytes) -> dict[str, Any]:
    text = value.decode()
    return {"sink": store, "key": sensor.key, "time": time, "value": text}


def _points(line: str, store: str) -> Points | None:
    try:
        said = json.loads(line)
        if said["sink"] != store:
            return None
        return Points.of(Series.from_key(said["key"]), [(int(said["time"]), str(said["value"]).encode())])
    except (ValueError, KeyError, TypeError):
        return None


def _ranges(taken: Sequence[Points]) -> Iterator[tuple[Series, int, int]]:
    """(series, first, last) of times that lie near each other."""
    times: dict[Series, list[int]] = {}
    for points in taken:
        times.setdefault(points.sensor, []).append(points.first)
    for series, some in times.items():
        for first, last in clusters(np.array(sorted(some), np.int64), _NEAR_MS):
            yield series, first, last


def dead_letters(state: Path) -> DeadLetters:
    """The archive's dead-letter file in a state directory."""
    return DeadLetters(state / "dead-letters" / "archive.jsonl")
