"""What a preset is: how the messages of one kind of devices are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import orjson

from iotd.model.errors import Refused
from iotd.model.observation import Names, Observation


class Delivery(NamedTuple):
    """One message of a topic.

    Attributes:
        payload: as it came.
        retained: the broker kept it, and hands it over because we have subscribed: nobody knows how old it is.
        connection: a number that each connection has for itself, also after a restart: retained messages of one
            connection were handed over together.
    """

    payload: bytes
    retained: bool = False
    connection: int = 0


class Presence(NamedTuple):
    """That a device, or a gateway with many, says it is there or gone: an availability topic, a last will.

    Attributes:
        who: its name for people, unique within its preset; the last word on it counts.
        gateway: others speak by way of it: while it is gone, they can't.
    """

    who: str
    online: bool
    gateway: bool = False


@dataclass(slots=True)  # made for each message: a frozen one takes four times as long
class Known:
    """What a reader may go by beside the message; it never changes.

    Attributes:
        notes: what the messages of this preset had to be remembered, see :attr:`Heard.notes`.
        names: what is known by name.
    """

    notes: Mapping[str, str]
    names: Names


@dataclass(slots=True)  # as Known
class Heard:
    """What a message says; it never changes.

    Attributes:
        said: the values; one without a time gets that of its arrival, and a retained one without a time is no reading.
        presence: who is there, and who is gone.
        notes: what is to be remembered, durably, by a key of the preset's own; None: is to be forgotten.
        passed_over: names of what it says beside that, and is no sensor's: for people who try a message.
    """

    said: Sequence[Observation] = ()
    presence: Sequence[Presence] = ()
    notes: Mapping[str, str | None] = field(default_factory=dict)
    passed_over: Sequence[str] = ()


NOTHING = Heard()

Reader = Callable[[Delivery, Known], Heard]
"""Reads the messages of one topic; pure. Raises Refused where a message is not what such a topic carries."""


class Filter(NamedTuple):
    """A topic filter to subscribe to.

    Attributes:
        announces: its retained messages tell what there is (configurations, units, who is there), so they are asked for
            at every connection; those of others only once.
    """

    topic: str
    announces: bool = False


class Preset(Protocol):
    """One kind of devices; it keeps nothing: what it has to remember are notes.

    Attributes:
        name: as in ``mqtt.presets``.
        base: the first level, or levels, of its topics, where people may choose it; empty: they can't.
    """

    name: str
    base: str

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """What to subscribe to, given the notes."""

    def reader(self, topic: str) -> Reader | None:
        """How the messages of a topic are read; None: the topic is not of this kind. Asked once for each topic."""


def json_object(payload: bytes, of: str) -> Mapping[str, object]:
    """The JSON object that a payload is.

    Raises:
        Refused: it is none; ``of`` says what should be one.
    """
    try:
        found = orjson.loads(payload)
    except orjson.JSONDecodeError as e:
        raise Refused("not JSON", f"{of} is a JSON object: {e}") from None
    if not isinstance(found, dict):
        raise Refused("not of this form", f"{of} is a JSON object, and this is none")
    return found


def plain_text(payload: bytes) -> str:
    """A payload as text, without blanks around it.

    Raises:
        Refused: it is not UTF-8.
    """
    try:
        return payload.decode().strip()
    except UnicodeDecodeError:
        raise Refused("not text", f"{payload[:40]!r}") from None
