"""What messages mean: by topic to a rule or a preset, and from there to a piece that is taken or held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from iotd.config.sections.mqtt import Broker
from iotd.model.errors import Refused
from iotd.model.observation import Names, Piece
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Filter, Heard, Known, Preset, Reader
from iotd.sources.mqtt.presets.registry import make
from iotd.sources.mqtt.rules import Rule

FORM = "mqtt"
"""Of a message that is held."""
_TOPICS = 100_000
"""Topics of which is known how they are read; when there are more, all are found anew."""
_LONGEST = 1_024
"""Characters of a topic of which that is remembered."""
_HELD = 64 * 1024
"""Bytes of a payload that are held where it is too large to be read."""


def reading_of(broker: Broker) -> Reading:
    """What the messages of a broker mean by its configuration: its own topics first, then the presets.

    Raises:
        ConfigError: presets or topics can't be used.
    """
    return Reading(kinds_of(broker))


def kinds_of(broker: Broker) -> list[tuple[str, Preset]]:
    """What knows topics by its configuration, each with the name of its notes.

    Raises:
        ConfigError: presets or topics can't be used.
    """
    kinds: list[tuple[str, Preset]] = [(one.name, one) for one in map(Rule, broker.topic)]
    return kinds + [
        (use.name if use.base is None else f"{use.name} {use.base}", make(use.name, use.base)) for use in broker.presets
    ]


class Read(NamedTuple):
    """What became of one message.

    Attributes:
        preset: that has read it, a name for its notes; empty: nobody knows the topic.
        piece: what is to be taken or held of it; None: nothing.
        why_not: why nothing could be understood.
    """

    preset: str
    heard: Heard
    piece: Piece | None
    why_not: Refused | None = None


_UNKNOWN = Read("", NOTHING, None)


class Reading:
    """Reads the messages of one broker: the first that knows a topic reads all its messages.

    Attributes:
        names: under which the notes are kept.
    """

    def __init__(self, kinds: Sequence[tuple[str, Preset]]) -> None:
        """
        Args:
            kinds: in the order in which they are asked, each with the name under which its notes are kept.
        """
        self.names = frozenset(name for name, _ in kinds)
        self._kinds = kinds
        self._readers: dict[str, tuple[str, Reader] | None] = {}

    def filters(self, notes: Mapping[str, Mapping[str, str]]) -> Iterator[Filter]:
        """All that they want to be subscribed to, given their notes."""
        for name, kind in self._kinds:
            yield from kind.filters(notes.get(name, {}))

    def read(
        self, topic: str, delivery: Delivery, length: int, notes: Mapping[str, Mapping[str, str]], names: Names
    ) -> Read:
        """Reads one message; pure, but for what it remembers of topics.

        Args:
            length: bytes of the payload, of which there may be only the beginning.
        """
        try:
            found = self._readers[topic]
        except KeyError:
            found = self._find(topic)
        if found is None:
            return _UNKNOWN
        name, reader = found
        payload, retained, _ = delivery
        if length > len(payload):
            why = Refused("too large", f"{length} bytes; mqtt.payload_limit is {len(payload)} or less")
            return self._refused(name, topic, payload[:_HELD], why, retained=retained)
        try:
            heard = reader(delivery, Known(notes.get(name, {}), names))
        except Refused as e:
            return self._refused(name, topic, payload, e, retained=retained)
        said = [one for one in heard.said if one.time is not None] if retained else heard.said
        return Read(name, heard, Piece(FORM, topic, payload, said) if said else None)

    def _refused(self, name: str, topic: str, payload: bytes, why: Refused, *, retained: bool) -> Read:
        # what was retained comes again with each subscription, and nobody knows how old it is
        return Read(name, NOTHING, None if retained else Piece(FORM, topic, payload, (), why), why)

    def _find(self, topic: str) -> tuple[str, Reader] | None:
        if len(self._readers) >= _TOPICS:
            self._readers.clear()
        found = next(
            ((name, reader) for name, kind in self._kinds if (reader := kind.reader(topic)) is not None),
            None,
        )
        if len(topic) <= _LONGEST:
            self._readers[topic] = found
        return found

    def forget(self) -> None:
        """Finds for all topics anew how they are read: a preset's notes may say more of them now."""
        self._readers.clear()
