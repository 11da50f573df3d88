"""What the witness between broker and iotd notes, a line for each event, in a file that no fault touches; and the story
of each message by it.

A PUBLISH is noted before it is passed on to iotd, a PUBACK when iotd has said it, whether or not it is passed on.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from tests.chaos.clients.book import events
from tests.chaos.mqtt.wire import V5, Published

SOURCES = {4: "mqtt.three", V5: "mqtt.five"}
"""What the daemon calls the source that speaks this version of the protocol."""


class Notes:
    """Writes them; nothing of it is kept in this process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def let_in(self, link: int, source: str, *, resumed: bool) -> None:
        """The broker has let iotd in, over the connection of this number; ``resumed``: it has kept the session."""
        self._write(let_in=link, source=source, resumed=resumed)

    def passes(self, link: int, one: Published) -> None:
        """A PUBLISH is passed on to iotd."""
        payload = one.payload.decode("latin-1")
        self._write(publish=link, topic=one.topic, payload=payload, id=one.packet, again=one.again, old=one.retained)

    def acknowledged(self, link: int, packet: int) -> None:
        """iotd has acknowledged a packet."""
        self._write(puback=link, id=packet)

    def confirmed(self, link: int, count: int) -> None:
        """The broker has surely got the first so many PUBACKs of this connection: it has answered what came behind."""
        self._write(confirmed=link, count=count)

    def close(self) -> None:
        os.close(self._file)

    def _write(self, **event: Any) -> None:
        os.write(self._file, json.dumps({**event, "at": monotonic()}).encode() + b"\n")


@dataclass
class Delivery:
    """A message on its way to iotd, once.

    Attributes:
        session: which of the broker's sessions for this source, counted.
        id: of the packet; 0 at QoS 0.
        again: the broker says that it may have sent it before (DUP).
        at, acknowledged: monotonic seconds; None: it was not.
        confirmed: the broker has surely got that PUBACK.
    """

    session: int
    id: int
    again: bool
    at: float
    acknowledged: float | None = None
    confirmed: bool = False


@dataclass
class Message:
    """All deliveries of one topic and payload to one source, in order.

    Attributes:
        old: it was delivered as one that the broker had retained, and only so.
    """

    source: str
    topic: str
    payload: bytes
    old: bool
    deliveries: list[Delivery] = field(default_factory=list)

    @property
    def acknowledged(self) -> float | None:
        """When iotd acknowledged it first; None: it never did."""
        return next((one.acknowledged for one in self.deliveries if one.acknowledged is not None), None)

    @property
    def claimed(self) -> bool:
        """Whether it ever came with QoS 1: QoS 0 is never claimed."""
        return any(one.id for one in self.deliveries)

    @property
    def repeats(self) -> int:
        """How often the broker has sent it as if it were another message.

        It may send one again with DUP, under the same packet id, in the same session, until it has our PUBACK. One
        that comes otherwise nobody can tell from a new message: it forgot a PUBACK that it had (killed, it went back
        to an older state), or took another id, or does not say DUP.
        """
        found = 0
        for n, one in enumerate(self.deliveries[1:], start=1):
            before = self.deliveries[n - 1]
            proper = one.again and one.id == before.id and one.session == before.session
            found += not proper or any(its.confirmed for its in self.deliveries[:n])
        return found

    @property
    def untold(self) -> int:
        """How many deliveries there were until the first that was acknowledged."""
        found = 0
        for one in self.deliveries:
            found += 1
            if one.acknowledged is not None:
                break
        return found


@dataclass
class Story:
    """What the witness has noted.

    Attributes:
        messages: all that were passed on, in the order in which they first were.
        sessions: by source, how many the broker has begun.
        wrong: PUBACKs that are for nothing, or out of turn.
    """

    messages: list[Message] = field(default_factory=list)
    sessions: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def story(path: Path) -> Story:
    """Reads the notes."""
    found = Story()
    links: dict[int, _Link] = {}
    known: dict[tuple[str, str, str], Message] = {}
    for event in events(path.read_bytes() if path.exists() else b""):
        match event:
            case {"let_in": link, "source": source, "resumed": resumed}:
                found.sessions[source] = found.sessions.get(source, 0) + (not resumed)
                links[link] = _Link(source, found.sessions[source])
            case {"publish": link, "topic": topic, "payload": payload, "id": id_, "again": again, "old": old, "at": at}:
                its = links[link]
                key = its.source, topic, payload
                if (message := known.get(key)) is None:
                    message = known[key] = Message(its.source, topic, payload.encode("latin-1"), old)
                    found.messages.append(message)
                message.old &= old
                message.deliveries.append(its.passes(Delivery(its.session, id_, again, at)))
            case {"puback": link, "id": id_, "at": at}:
                if (wrong := links[link].acknowledges(id_, at)) is not None:
                    found.wrong.append(f"{links[link].source}: {wrong}")
            case {"confirmed": link, "count": count}:
                for delivery in links[link].acknowledged[:count]:
                    delivery.confirmed = True
    return found


class _Link:
    """One connection."""

    def __init__(self, source: str, session: int) -> None:
        self.source = source
        self.session = session
        self.acknowledged: list[Delivery] = []
        self._open: dict[int, Delivery] = {}

    def passes(self, one: Delivery) -> Delivery:
        if one.id:
            self._open[one.id] = one
        return one

    def acknowledges(self, id_: int, at: float) -> str | None:
        """A PUBACK of iotd; what is wrong with it: they have to come in the order of the messages."""
        if id_ not in self._open:
            return f"PUBACK of {id_}, and no such packet is on its way"
        first = next(iter(self._open))
        one = self._open.pop(id_)
        one.acknowledged = at
        self.acknowledged.append(one)
        return None if first == id_ else f"PUBACK of {id_} before that of {first}, which came first"
