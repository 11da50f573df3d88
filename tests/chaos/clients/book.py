"""A client's book: what it gives, each attempt, each answer; a file that no fault touches, a line written at a time.

Before the first attempt of a message its readings stand there, and after the acknowledgement its number. So whatever is
killed, each acknowledged reading is known, and each that may have come through without.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from iotd.model.series import Series


class Reading(NamedTuple):
    """A reading that a client gives; ``time`` in ms, None: the daemon is to give it that of its arrival."""

    type: str
    location: str
    sensor: str
    time: int | None
    value: float

    @property
    def series(self) -> Series:
        return Series(self.type, self.location, self.sensor)


@dataclass
class Message:
    """What became of one.

    Attributes:
        key: its Idempotency-Key.
        readings: that can be taken.
        bad: marks of those that can't be, and must be held.
        tries: when each attempt began (monotonic seconds).
        later: how often the answer was 503.
        done: when it was acknowledged; None: it never was.
    """

    key: str | None
    readings: list[Reading]
    bad: list[str]
    tries: list[float] = field(default_factory=list)
    later: int = 0
    done: float | None = None


class Book:
    """Writes one; nothing of it is kept in this process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._numbers = 0

    def give(self, readings: Sequence[Reading], *, bad: Sequence[str] = (), key: str | None = None) -> int:
        """What is to be sent; the message's number."""
        self._numbers += 1
        self._write(give=self._numbers, readings=readings, bad=bad, key=key)
        return self._numbers

    def tries(self, number: int) -> None:
        """An attempt begins."""
        self._write(tries=number)

    def done(self, number: int) -> None:
        """It was acknowledged."""
        self._write(done=number)

    def later(self, number: int) -> None:
        """The answer was 503."""
        self._write(later=number)

    def _write(self, **event: Any) -> None:
        os.write(self._file, json.dumps({**event, "at": monotonic()}).encode() + b"\n")


def events(data: bytes) -> Iterator[dict[str, Any]]:
    """The whole lines of a book."""
    for line in data.splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)


def messages(path: Path) -> dict[int, Message]:
    """All messages of a book, in the order in which they were given."""
    found: dict[int, Message] = {}
    for event in events(path.read_bytes() if path.exists() else b""):
        match event:
            case {"give": number, "readings": readings, "bad": bad, "key": key}:
                found[number] = Message(key, [Reading(*one) for one in readings], bad)
            case {"tries": number, "at": at}:
                found[number].tries.append(at)
            case {"later": number}:
                found[number].later += 1
            case {"done": number, "at": at}:
                found[number].done = at
    return found
