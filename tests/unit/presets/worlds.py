"""A preset as a source uses it: messages in their order, and what it noted of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import orjson
from hypothesis import strategies as st

from iotd.config.topics.filters import matches
from iotd.intake.resolve import Resolver
from iotd.model.errors import Refused
from iotd.model.observation import Observation
from iotd.model.types import BUILT_IN
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Heard, Known, Preset

NAMES = Resolver(BUILT_IN, {}, {}, ignored=("disk*",))


class World:
    """Keeps the notes of a preset."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.notes: dict[str, str] = {}
        self.connection = 1

    def hears(self, topic: str, payload: Any = b"", *, retained: bool = False) -> Heard:
        """What becomes of a message; a payload that is no bytes is sent as text or JSON."""
        reader = self.preset.reader(topic)
        if reader is None:
            return NOTHING
        found = reader(Delivery(sent(payload), retained, self.connection), Known(self.notes, NAMES))
        assert isinstance(found, Heard)
        for key, note in found.notes.items():
            assert self.notes.get(key) != note, f"{key} was noted already"
            if note is None:
                del self.notes[key]
            else:
                self.notes[key] = note
        return found

    def says(self, topic: str, payload: Any = b"", *, retained: bool = False) -> set[tuple[Any, ...]]:
        """The values that a message says, short."""
        return short(self.hears(topic, payload, retained=retained).said)

    def why_not(self, topic: str, payload: Any = b"", *, retained: bool = False) -> str:
        """Why a message is refused."""
        try:
            self.hears(topic, payload, retained=retained)
        except Refused as e:
            return str(e)
        raise AssertionError("it was not refused")

    def is_subscribed(self, topic: str) -> bool:
        """Whether its filters match a topic."""
        return any(matches(one.topic, topic) for one in self.preset.filters(self.notes))


def sent(payload: Any) -> bytes:
    """A payload as it is sent."""
    if isinstance(payload, bytes):
        return payload
    return payload.encode(errors="replace") if isinstance(payload, str) else orjson.dumps(payload)


def short(said: Iterable[Observation]) -> set[tuple[Any, ...]]:
    """Type, sensor, value and unit."""
    return {(one.type, one.sensor, one.value, one.unit) for one in said}


def with_keys(*keys: str) -> st.SearchStrategy[Any]:
    """Any JSON, in which these keys are likely."""
    some = st.sampled_from(keys) | st.text(max_size=4)
    return st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | some
        | st.sampled_from(["21.5", "ON", "sensor", "temperature", "~/a", "a/b", "#", "°C", "{{ value_json.a }}"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(some, inner, max_size=6),
        max_leaves=25,
    )


def survives(world: World, topic: str, payload: Any, *, retained: bool) -> Mapping[str, str]:
    """Hears a message, or has it refused; anything else is raised."""
    with suppress(Refused):
        for one in world.hears(topic, payload, retained=retained).said:
            assert all(isinstance(text, str) for text in (one.type, one.sensor, one.location, *one.hints))
            assert one.unit is None or isinstance(one.unit, str)
    return world.notes
