"""What must have become of each message that the witness passed on to iotd: stored, or held, and how often.

A message with a time is known by its sensor and time, so that any repeat changes nothing. One without is known by its
value, which is nowhere else. It must be stored once if iotd acknowledged it, and at most once if not, whatever the
broker redelivered; only where the broker repeated it as if it were another message (:attr:`Message.repeats`) may each
such repeat be there too, which is counted. QoS 0 is never claimed.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from iotd.intake.superseded import REASON as SUPERSEDED
from iotd.model.series import Series
from tests.chaos.clients.book import Reading
from tests.chaos.clients.fates import EDGE_MS, LINGERS_S, SLACK_MS, Fates
from tests.chaos.clients.invention import MARK
from tests.chaos.mqtt.notes import SOURCES, Message, Story
from tests.chaos.mqtt.topics import OLD, said
from tests.chaos.servers import DAEMON, Clocks
from tests.servers.witness import Given, Outcome


class Row(NamedTuple):
    """Something that is held."""

    topic: str
    payload: bytes
    reason: str


@dataclass
class Arrival:
    """A reading without a time of its own, by its value.

    Attributes:
        must: whether it must be there.
        most: how often it may be.
        first, last: ms between which it must have arrived, by the daemon's clock; None: at any time from then on.
    """

    must: bool
    most: int
    first: float
    last: float | None


@dataclass
class MqttFates(Fates):
    """Of all messages over MQTT.

    Attributes:
        arrivals: of readings without a time, by series and value.
        figures: what came to pass, for people.
    """

    arrivals: dict[Series, dict[float, Arrival]] = field(default_factory=dict)
    figures: Counter[str] = field(default_factory=Counter)


def held(state: Path) -> list[Row]:
    """What is held of MQTT."""
    path = state / "held.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
        rows = db.execute("SELECT source, topic, payload, reason FROM held ORDER BY id").fetchall()
    return [Row(*its) for source, *its in rows if source in SOURCES.values()]


class MqttJudge:
    """Holds what the witness has noted against what is held."""

    def __init__(
        self,
        story: Story,
        rows: Sequence[Row],
        rooms: Iterable[str],
        clocks: Clocks,
        *,
        causes: Sequence[str],
        keeps_ms: int,
        tampered: frozenset[str],
    ) -> None:
        """
        Args:
            rows: what is held.
            causes, keeps_ms, tampered: see :meth:`tests.chaos.clients.fates.Judge.fates`.
        """
        self._story = story
        self._rows = rows
        self._rooms = tuple(rooms)
        self._clocks = clocks
        self._causes = tuple(causes)
        self._keeps_ms = keeps_ms
        self._tampered = tampered

    def fates(self) -> MqttFates:
        """What must have become of all messages."""
        fates = MqttFates(wrong=list(self._story.wrong))
        readings = {id(one): said(one.topic, one.payload, self._rooms) for one in self._story.messages}
        held = self._sort(fates, [one for one in readings.values() if one is not None])
        for message in self._story.messages:
            self._count(message, fates)
            reading = readings[id(message)]
            if (mark := MARK.search(f"{message.topic} {message.payload.decode('latin-1')}")) is not None:
                self._bad(mark[0], message, len(held.get(mark[0], ())), fates)
            elif reading is None or reading.sensor.startswith(OLD):
                continue  # it says nothing, or nobody knows when: no series of it may be there, and nothing is held
            else:
                rows = held.get(reading.value, ())
                if reading.time is None:
                    self._arrival(reading, message, rows, fates)
                else:
                    self._timed(reading, message, rows, fates)
        return fates

    def _sort(self, fates: MqttFates, given: Sequence[Reading]) -> Mapping[str | float, Sequence[Row]]:
        values = {one.value for one in given if not one.sensor.startswith(OLD)}
        found: defaultdict[str | float, list[Row]] = defaultdict(list)
        for row in self._rows:
            value = _value(row.payload)
            if (mark := MARK.search(f"{row.topic} {row.payload.decode('latin-1')}")) is not None:
                found[mark[0]].append(row)
            elif value in values:
                found[value].append(row)
                fates.held[row.reason] += 1
                if row.reason != SUPERSEDED and not row.reason.startswith(self._causes):
                    fates.wrong.append(f"mqtt: {value!r} is held, and no fault gave cause: {row.reason}")
            else:
                fates.wrong.append(f"mqtt: held, and never passed on: {row.topic} {row.payload!r:.200}: {row.reason}")
        return found

    def _count(self, message: Message, fates: MqttFates) -> None:
        figures, deliveries = fates.figures, message.deliveries
        figures["messages passed on"] += 1
        figures["acknowledged by iotd"] += message.acknowledged is not None
        figures["QoS 0"] += not message.claimed
        figures["redelivered as it has to be"] += len(deliveries) - 1 - message.repeats
        fates.repeated += message.acknowledged is not None and len(deliveries) > 1
        if message.acknowledged is not None and not message.claimed:
            fates.wrong.append(f"mqtt: QoS 0 was acknowledged: {message.topic}")

    def _bad(self, mark: str, message: Message, count: int, fates: MqttFates) -> None:
        fates.bad += count
        fates.again += max(0, count - 1)
        # one that was not acknowledged may have been held before we were killed, and its place not be noted
        most = message.untold + message.repeats
        if count > most:
            fates.wrong.append(
                f"mqtt: {mark} is held {count} times, and came {message.untold} times before it was acknowledged"
            )
        if not count and message.acknowledged is not None:
            fates.wrong.append(f"mqtt: {mark} ({message.topic}) was acknowledged, and is not held")

    def _timed(self, one: Reading, message: Message, rows: Sequence[Row], fates: MqttFates) -> None:
        assert one.time is not None
        if len(rows) > message.untold + message.repeats:
            fates.wrong.append(f"mqtt: {one.value!r} is held {len(rows)} times")
        if rows and len(message.deliveries) == 1:
            return
        must = message.acknowledged is not None and not rows
        kept = one.time >= self._clocks.wall_ms(message.deliveries[0].at) - self._keeps_ms + EDGE_MS
        for stores, its_must in (
            (fates.nodes, must and kept),
            (fates.archive, must and (kept or one.location not in self._tampered)),
        ):
            given = stores.setdefault(one.series, Given())
            given.given.setdefault(one.time, []).append((one.value, its_must))
            if its_must:
                given.acknowledged[one.time] = one.value

    def _arrival(self, one: Reading, message: Message, rows: Sequence[Row], fates: MqttFates) -> None:
        for_good = len(rows)
        if any(row.reason == SUPERSEDED for row in rows):
            fates.wrong.append(f"mqtt: {one.value!r} is held as superseded, though it has no time of its own")
        if for_good > message.untold + message.repeats:
            fates.wrong.append(f"mqtt: {one.value!r} is held {for_good} times")
        fates.figures["sent once, and repeated by the broker as if it were another message"] += message.repeats
        most = 1 + message.repeats
        if for_good and len(message.deliveries) == 1:
            most = 0
        begin, end = message.deliveries[0].at, message.acknowledged
        low, high = self._clocks.offsets(DAEMON, begin - LINGERS_S, message.deliveries[-1].at if end is None else end)
        fates.arrivals.setdefault(one.series, {})[one.value] = Arrival(
            must=message.claimed and message.acknowledged is not None and not for_good,
            most=most,
            first=self._clocks.wall_ms(begin) + low * 1_000 - SLACK_MS,
            last=None if end is None or message.repeats else self._clocks.wall_ms(end) + high * 1_000 + SLACK_MS,
        )


Samples = Mapping[Series, Sequence[tuple[int, float]]]
"""What a store holds of some series: times (ms) and values."""


def compare_arrivals(
    expected: Mapping[Series, Mapping[float, Arrival]],
    stored: Samples,
    losable: Mapping[Series, Mapping[int, Iterable[float]]],
) -> tuple[Outcome, int]:
    """Compares readings without times of their own with what a store holds; ``altered`` are those at a wrong time.

    Args:
        losable: readings that only a part of the log had which was destroyed: they may be missing, and as the log knew
            of no message behind them any more, be there once more when the broker sent these again.

    Returns:
        The outcome, and how many are there more than once, as they may be.
    """
    outcome, doubles = Outcome(), 0
    for series, its in expected.items():
        found: defaultdict[float, list[int]] = defaultdict(list)
        for time, value in stored.get(series, ()):
            found[value].append(time)
        gone = {value for values in losable.get(series, {}).values() for value in values}
        for value, arrival in its.items():
            times = found.pop(value, [])
            outcome.due += arrival.must
            there = len(times)
            if not there and arrival.must:
                if value in gone:
                    outcome.lost += 1
                else:
                    outcome.missing += 1
                    outcome.wrong(f"({value!r}) is missing", series, round(arrival.first))
            if there > arrival.most + (value in gone):
                outcome.strange += there - arrival.most
                outcome.wrong(f"({value!r}) is there {there} times, also at {times}", series, times[0] if times else 0)
            elif there > 1:
                doubles += there - 1
            for time in times:
                if time < arrival.first or (arrival.last is not None and time > arrival.last and value not in gone):
                    outcome.altered += 1
                    outcome.wrong(
                        f"({value!r}) arrived between {arrival.first:.0f} and {arrival.last or 0:.0f}", series, time
                    )
        for value, times in found.items():
            outcome.strange += len(times)
            outcome.wrong(f"({value!r}) was never passed on", series, times[0])
    return outcome, doubles


def _value(payload: bytes) -> float | None:
    try:
        found = json.loads(payload)
        value = found if not isinstance(found, dict) else found["v"] if "v" in found else found["value"]
        return float(value)
    except (ValueError, KeyError, TypeError):
        return None
