"""What an import does: an importer's rows into a running daemon, with a progress bar, from where it was."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iotd.cli.output import console
from iotd.intake.moments import moment_of
from iotd.model.errors import IotdError, Refused
from iotd.model.observation import Observation
from iotd.model.summaries import HourlySummaries
from iotd.ops.files import write_atomically
from iotd.sources.importers.base import Importer, LiveImporter, Row

if TYPE_CHECKING:
    from iotd.producer import Producer

_AT_ONCE = 1_000
"""Readings of a message, or hours of summaries."""
_SIZE = 900_000
"""Bytes of a message, at most about."""
_LONGEST = 5_000
"""Characters of a reading's texts: what is longer is no reading."""
_WAIT_S = 5.0
"""How long one who has interrupted an import waits for answers that are under way."""
_CHARACTER, _REST, _HOUR = 6, 100, 120
"""Bytes that a character, the rest of a reading, and an hour's summary take at most in a message."""
_UNDER_WAY = 8
"""Messages without an answer yet."""
_EXAMPLES = 10
_SAVE_EVERY_S = 0.5
_FILES = 100
"""Files whose marks are kept."""


@dataclass
class Outcome:
    """What became of the rows of a file or server.

    Attributes:
        readings, hours: that are taken; ``hours``: summaries.
        held: by reason.
        unread: rows and summaries that can't be taken, nor held; some of them are ``examples``.
        failed: why it ended before its end; None: it did not.
    """

    readings: int = 0
    hours: int = 0
    held: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    examples: list[str] = field(default_factory=list)
    failed: IotdError | None = None

    def add_unread(self, text: str, count: int = 1) -> None:
        """Rows that say nothing that could be taken."""
        self.unread += count
        if len(self.examples) < _EXAMPLES and text not in self.examples:
            self.examples.append(text)


async def import_rows(state: Path, name: str, importer: Importer | LiveImporter, marks: Marks, zone: tzinfo) -> Outcome:
    """Imports what is behind the mark; all of it is in the daemon's log, or held, when this returns.

    Args:
        name: for people.
        zone: of times that have none.

    Raises:
        StateError: no daemon runs.
    """
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    from iotd.producer import Producer  # noqa: PLC0415

    outcome = Outcome()
    shown = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*shown, console=console(err=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(name, total=importer.size or None)
        async with Producer(state, socket="import.sock") as producer:
            await producer.connected(10)
            under_way: deque[tuple[asyncio.Task[None], int]] = deque()
            patience: float | None = _WAIT_S
            try:
                async for message in _messages(importer.rows(marks.mark), zone, outcome):
                    sending = asyncio.create_task(_send(producer, name, message, outcome))
                    under_way.append((sending, message.mark))
                    if len(under_way) >= _UNDER_WAY:
                        await _settled(under_way, marks)
                    progress.update(task, completed=message.done, total=importer.size or None)
                    await asyncio.sleep(0)
                patience = None
            except IotdError as e:
                outcome.failed, patience = e, None
            finally:
                try:
                    async with asyncio.timeout(patience):
                        while under_way:
                            await _settled(under_way, marks)
                finally:
                    marks.save()
    return outcome


async def _settled(under_way: deque[tuple[asyncio.Task[None], int]], marks: Marks) -> None:
    sending, mark = under_way.popleft()
    await sending
    marks.reached(mark)


@dataclass
class _Message:
    place: str
    mark: int = 0
    done: int = 0
    rows: int = 0
    size: int = 0
    readings: list[Observation] = field(default_factory=list)
    summaries: list[HourlySummaries] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return self.rows >= _AT_ONCE or len(self.readings) >= _AT_ONCE or self.size >= _SIZE


async def _messages(
    rows: Iterator[Row] | AsyncIterator[Row], zone: tzinfo, outcome: Outcome
) -> AsyncIterator[_Message]:
    message: _Message | None = None
    async for row in rows if isinstance(rows, AsyncIterator) else _each(rows):
        if message is None:
            message = _Message(row.place)
        if isinstance(row.said, Refused):
            outcome.add_unread(f"{row.place}: {row.said}")
        elif isinstance(row.said, HourlySummaries):
            message.summaries.append(row.said)
            message.size += _HOUR * len(row.said.hours)
        else:
            for one in row.said:
                length = _length(one)
                if (why := _unfit(one, length, zone)) is None:
                    message.readings.append(one)
                    message.size += _REST + _CHARACTER * length
                else:
                    outcome.add_unread(f"{row.place}: {why}")
                if message.full:  # its mark moves with the last of the row
                    yield message
                    message = _Message(row.place, message.mark, row.done)
        message.mark, message.done, message.rows = row.mark, row.done, message.rows + 1
        if message.full:
            yield message
            message = None
    if message is not None:
        yield message


async def _each(rows: Iterator[Row]) -> AsyncIterator[Row]:
    for row in rows:
        yield row


def _length(one: Observation) -> int:
    texts = (one.type, one.sensor, one.location, one.unit, one.value, *one.hints)
    return sum(len(text) for text in texts if isinstance(text, str))


def _unfit(one: Observation, length: int, zone: tzinfo) -> Refused | None:
    """Why it is no reading of an import: the daemon would give what has no time that of its arrival."""
    if isinstance(one.value, float) and not math.isfinite(one.value):
        return Refused("not a finite number", f"{one.value!r}")
    if length > _LONGEST:
        return Refused("not a reading", f"it is longer than {_LONGEST} characters")
    try:
        if moment_of(one.time, zone) is None:
            return Refused("no time", "what is imported has to say when it was measured, in the year 2000 or later")
    except Refused:
        pass  # it is held, as it came
    return None


async def _send(producer: Producer, name: str, message: _Message, outcome: Outcome) -> None:
    from iotd.producer import Held  # noqa: PLC0415
    from iotd.sources.http.jsonreadings import as_dict  # noqa: PLC0415

    held: tuple[str, ...] = ()
    try:
        await producer.put_many([as_dict(one) for one in message.readings], topic=f"{name} {message.place} +")
    except Held as e:
        held = e.reasons
    outcome.held.update(reason.partition(":")[0] for reason in held)
    outcome.readings += len(message.readings) - len(held)
    if message.summaries:
        refused = await producer.put_summaries([one.as_dict() for one in message.summaries])
        outcome.hours += sum(len(one.hours) for one in message.summaries)
        for count, why in refused:
            outcome.hours -= count
            outcome.add_unread(f"hourly summaries of {why}", count)


class Marks:
    """How far something was imported; another file, or the same with other options, begins at its start."""

    def __init__(self, path: Path, what: Any, *, again: bool) -> None:
        """
        Args:
            what: tells it from all others; becomes JSON.
        """
        self._key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
        self._path = path
        self._saved = time.monotonic()
        try:
            self._all: dict[str, int] = json.loads(path.read_bytes())
            self.mark = 0 if again else int(self._all.get(self._key, 0))
        except (OSError, ValueError, TypeError, AttributeError):
            self._all, self.mark = {}, 0  # what is imported once more changes nothing

    def reached(self, mark: int) -> None:
        """All up to here is in the daemon's log."""
        self.mark = mark
        if time.monotonic() - self._saved > _SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Keeps it, with the latest ones of other files. Blocking."""
        self._saved = time.monotonic()
        self._all = {**{key: mark for key, mark in self._all.items() if key != self._key}, self._key: self.mark}
        kept = dict(list(self._all.items())[-_FILES:])
        with suppress(OSError):  # without it, the next run begins at the start
            write_atomically(self._path, json.dumps(kept))
