"""What must have become of each reading that a client gave: stored, or held; by what the client and the daemon noted.

A reading without a time has that which the daemon noted for its message's key, and which has to lie between the first
attempt and the acknowledgement. One that is held must not be stored too, unless it was sent, and so judged, again.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from iotd.model.series import Series
from tests.chaos.clients.book import Message, Reading, messages
from tests.chaos.clients.invention import MARK
from tests.chaos.clients.processes import SOURCES
from tests.chaos.servers import DAEMON, Clocks
from tests.servers.witness import Given

LINGERS_S = 90
"""So long after a clock was put right the daemon may still go by another time."""
SLACK_MS = 2_500
"""A step takes effect within a second, and one of less than two is believed."""
_UNANSWERED_S = 30
"""So long after the last attempt a message without an answer may still be on its way."""
EDGE_MS = 3_600_000
"""What is about as old as a shard keeps may be in it or not."""
_LINE_VALUE = re.compile(rb" value=(\S+)")


class _Row(NamedTuple):
    payload: bytes
    reason: str


@dataclass
class Fates:
    """What must have become of one client's readings.

    Attributes:
        nodes, archive: what must be, and may be, in these, by series.
        held: readings that are held, by the reason.
        bad: things that can't be taken, and are held.
        again: those of a repeat without a key, which is another message to the daemon.
        repeated: messages that were acknowledged, and had been sent more than once.
        later: answers that they were to come again later (503).
        wrong: what can't be.
    """

    nodes: dict[Series, Given] = field(default_factory=dict)
    archive: dict[Series, Given] = field(default_factory=dict)
    held: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    again: int = 0
    repeated: int = 0
    later: int = 0
    wrong: list[str] = field(default_factory=list)


class Judge:
    """Holds what one client has noted against what the daemon has."""

    def __init__(self, client: str, book: Path, state: Path, clocks: Clocks) -> None:
        """Reads both; the daemon must be down."""
        self._client = client
        self._messages = messages(book)
        self._arrivals = _arrivals(state, SOURCES[client])
        self._rows = _held(state, SOURCES[client])
        self._clocks = clocks

    def fates(self, *, causes: Sequence[str], keeps_ms: int, tampered: frozenset[str]) -> Fates:
        """What must have become of all readings.

        Args:
            causes: the beginnings of reasons for which faults may have had readings held.
            keeps_ms: how long the shards keep readings: older ones only the archive has.
            tampered: locations of which something was destroyed that nothing else may have had.
        """
        fates = Fates()
        held = self._sort(fates, tuple(causes))
        for number, message in self._messages.items():
            fates.repeated += message.done is not None and len(message.tries) > 1
            fates.later += message.later
            for mark in message.bad:
                count = len(held.pop(mark, ()))
                fates.bad += count
                self._once(f"{mark} of message {number}", count, message, fates)
                if not count and message.done is not None:
                    fates.wrong.append(f"{self._client}: {mark} was acknowledged, and is not held")
            arrived = self._arrivals.get(message.key) if message.key else None
            if any(one.time is None for one in message.readings):
                fates.wrong += self._misdated(number, message, arrived)
            for one in message.readings:
                rows = held.pop(one.value, ())
                self._once(f"{one.value!r} of message {number}", len(rows), message, fates)
                time = arrived if one.time is None else one.time
                if time is not None:
                    self._expect(fates, one, time, message, held=bool(rows), keeps_ms=keeps_ms, tampered=tampered)
        return fates

    def _sort(self, fates: Fates, causes: tuple[str, ...]) -> dict[str | float, list[_Row]]:
        """What is held, by the mark, or the value, of what was given."""
        values = {one.value for message in self._messages.values() for one in message.readings}
        marks = {mark for message in self._messages.values() for mark in message.bad}
        found: defaultdict[str | float, list[_Row]] = defaultdict(list)
        for row in self._rows:
            if (mark := MARK.search(row.payload.decode(errors="replace"))) is not None and mark[0] in marks:
                found[mark[0]].append(row)
            elif (value := _value(row.payload)) in values:
                found[value].append(row)
                fates.held[row.reason] += 1
                if not row.reason.startswith(causes):
                    fates.wrong.append(f"{self._client}: {value!r} is held, and no fault gave cause: {row.reason}")
            else:
                fates.wrong.append(f"{self._client}: held, and never given: {row.payload!r:.200}: {row.reason}")
        return found

    def _once(self, what: str, count: int, message: Message, fates: Fates) -> None:
        fates.again += max(0, count - 1)
        # a producer tries again by itself; what has a key is one message, however often it comes
        most = len(message.tries) if self._client == "http" else count
        if message.key:
            most = 1
        if count > most:
            fates.wrong.append(f"{self._client}: {what} is held {count} times, and was sent {len(message.tries)} times")

    def _misdated(self, number: int, message: Message, arrived: int | None) -> list[str]:
        if arrived is None:
            acknowledged = message.done is not None
            return [f"{self._client}: message {number} was acknowledged, and its key is not known"] * acknowledged
        begin, end = message.tries[0], message.done or message.tries[-1] + _UNANSWERED_S
        low, high = self._clocks.offsets(DAEMON, begin - LINGERS_S, end)
        first = self._clocks.wall_ms(begin) + low * 1_000 - SLACK_MS
        last = self._clocks.wall_ms(end) + high * 1_000 + SLACK_MS
        if first <= arrived <= last:
            return []
        return [f"{self._client}: message {number} arrived at {arrived}, not between {first:.0f} and {last:.0f}"]

    def _expect(
        self,
        fates: Fates,
        one: Reading,
        time: int,
        message: Message,
        *,
        held: bool,
        keeps_ms: int,
        tampered: frozenset[str],
    ) -> None:
        again = self._client != "http" or len(message.tries) > 1
        if held and not again:
            return
        must = message.done is not None and not held
        kept = time >= self._clocks.wall_ms(message.tries[0] if message.tries else 0.0) - keeps_ms + EDGE_MS
        series = one.series
        for stores, its_must in (
            (fates.nodes, must and kept),
            (fates.archive, must and (kept or one.location not in tampered)),
        ):
            given = stores.setdefault(series, Given())
            given.given.setdefault(time, []).append((one.value, its_must))
            if its_must:
                given.acknowledged[time] = one.value


def _arrivals(state: Path, source: str) -> dict[str, int]:
    """When each message of a key arrived, ms."""
    rows = _rows(state / "requests.sqlite", "SELECT key, arrived FROM request")
    return {key.removeprefix(f"{source} "): arrived for key, arrived in rows if key.startswith(f"{source} ")}


def _held(state: Path, source: str) -> list[_Row]:
    rows = _rows(state / "held.sqlite", "SELECT payload, reason, source FROM held ORDER BY id")
    return [_Row(payload, reason) for payload, reason, whose in rows if whose == source]


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
        return db.execute(query).fetchall()


def _value(payload: bytes) -> float | None:
    try:
        if (line := _LINE_VALUE.search(payload)) is not None:
            return float(line[1])
        said = json.loads(payload)
        return float(said["value"]) if isinstance(said, dict) else None
    except (ValueError, KeyError, TypeError):
        return None
