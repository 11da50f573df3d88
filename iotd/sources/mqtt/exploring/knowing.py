"""Which rule or preset knows a topic: of those that are configured, and of those that could be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iotd.config.topics.filters import matches
from iotd.model.errors import ConfigError
from iotd.model.observation import Names
from iotd.sources.mqtt.presets.base import Delivery, Preset
from iotd.sources.mqtt.presets.registry import PRESETS, make
from iotd.sources.mqtt.reading import Read, Reading

Kinds = list[tuple[str, Preset]]
"""Rules and presets in the order in which they are asked, each with the name of its notes."""


def other_kinds(configured: Kinds, only: Sequence[str] = ()) -> Kinds:
    """The presets that are not configured, in the registry's order.

    Args:
        only: names of those that are wanted; empty: all that there are.

    Raises:
        ConfigError: there is no such preset.
    """
    if unknown := sorted(set(only) - PRESETS.keys()):
        raise ConfigError(f"there is no preset {unknown[0]!r}; there are {', '.join(sorted(PRESETS)) or 'none'}")
    there = {name for name, _ in configured}
    return [(name, make(name)) for name in PRESETS if name not in there and (not only or name in only)]


class Knowing:
    """What some rules and presets know of topics.

    A preset may read any topic, and say nothing of those that nobody has announced to it: it knows a topic when it says
    something of a message, or wants to be subscribed to it.
    """

    def __init__(self, kinds: Kinds) -> None:
        self.reading = Reading(kinds)
        self._kinds = dict(kinds)
        self._filters: dict[str, list[str]] = {}

    def read(
        self, topic: str, delivery: Delivery, length: int, notes: Mapping[str, Mapping[str, str]], names: Names
    ) -> Read | None:
        """See :meth:`iotd.sources.mqtt.reading.Reading.read`; None: the topic is not known."""
        read = self.reading.read(topic, delivery, length, notes, names)
        heard = read.heard
        if read.preset and (read.piece is not None or heard.said or heard.presence or heard.notes):
            return read
        if not read.preset or not self._wants(read.preset, topic, notes):
            return None
        return read

    def _wants(self, preset: str, topic: str, notes: Mapping[str, Mapping[str, str]]) -> bool:
        if preset not in self._filters:
            self._filters[preset] = [one.topic for one in self._kinds[preset].filters(notes.get(preset, {}))]
        return any(matches(one, topic) for one in self._filters[preset])

    def forget(self) -> None:
        """Notes have changed."""
        self.reading.forget()
        self._filters.clear()
