"""Rules of `[[mqtt.topic]]`: how the messages of topics that no preset knows are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from iotd.config.sections.mqtt import TopicRule
from iotd.config.topics.filters import matches
from iotd.config.topics.patterns import pattern_of
from iotd.config.topics.queries import MISSING, Query, is_query, query_of
from iotd.model.errors import Refused
from iotd.model.observation import Observation
from iotd.sources.mqtt.presets.base import Delivery, Filter, Heard, Known, Reader, plain_text

_Part = str | Query | None
"""A constant, a query, or nothing."""


class Rule:
    """A rule in the shape of a preset; see :class:`iotd.sources.mqtt.presets.base.Preset`."""

    base = ""

    def __init__(self, rule: TopicRule) -> None:
        self.name = f"topic {rule.topic}"
        self._rule = rule
        self._pattern = pattern_of(rule.topic)

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """Its topic filter."""
        return [Filter(self._pattern.filter)]

    def reader(self, topic: str) -> Reader | None:
        """How the messages of a topic are read; None: the rule is not for it."""
        if not matches(self._pattern.filter, topic):
            return None
        found = self._pattern.match(topic)
        if found is None:
            return None
        rule = self._rule
        kind = found.get("type", _part(rule.type))
        value = None if rule.value is None else query_of(rule.value)
        wanted: list[tuple[_Part, Query | None]] = [(kind, query_of(text)) for kind, text in rule.values.items()]
        wanted = wanted or [(kind, value)]
        location = found.get("location", _part(rule.location))
        sensor = found.get("sensor", _part(rule.sensor)) or self._pattern.without_type(topic)
        unit = _part(rule.unit)
        time = None if rule.time is None else query_of(rule.time)
        queries = [part for part in (location, sensor, unit, time, kind, value) if isinstance(part, Query)]
        return _Reading(
            wanted, location, sensor, unit, time, hints=(topic,), plain=not queries and not rule.values
        ).read


@dataclass(frozen=True, slots=True)
class _Reading:
    """How the messages of one topic are read.

    Attributes:
        wanted: types, and where their values are; None: the payload itself.
        plain: the payload is nothing but the value.
    """

    wanted: Sequence[tuple[_Part, Query | None]]
    location: _Part
    sensor: _Part
    unit: _Part
    time: Query | None
    hints: tuple[str, ...]
    plain: bool

    def read(self, delivery: Delivery, known: Known) -> Heard:
        """See :data:`iotd.sources.mqtt.presets.base.Reader`."""
        payload = delivery.payload
        document = _plain(payload) if self.plain else self._decoded(payload)
        values: list[tuple[_Part, object]] = []
        missing: list[str] = []
        for kind, query in self.wanted:
            value = document if query is None else query.find(document)
            if value is not MISSING:
                values.append((kind, value))
            elif query is not None:
                missing.append(query.text)
        if not values:
            raise _no_value(" and ".join(missing), payload)
        location = _text(self.location, document, payload) or ""
        sensor = _text(self.sensor, document, payload) or ""
        unit = _text(self.unit, document, payload)
        time = None if self.time is None else _found(self.time, document, payload)
        said = [
            Observation(_text(kind, document, payload) or "", sensor, value, location, unit, time, self.hints)
            for kind, value in values
        ]
        return Heard(said, passed_over=missing)

    def _decoded(self, payload: bytes) -> object:
        try:
            document: object = orjson.loads(payload)
        except orjson.JSONDecodeError as e:
            raise Refused("not JSON", f"the rule has a query, and {payload[:80]!r} is no JSON: {e}") from None
        if isinstance(document, dict | list) and self.wanted[0][1] is None:
            raise _more_than_one(payload)
        return document


def _part(text: str | None) -> _Part:
    return query_of(text) if text is not None and is_query(text) else text


def _plain(payload: bytes) -> object:
    """A JSON number, text or boolean as what it is; anything else as text, which may have its unit behind a number."""
    text = plain_text(payload)
    try:
        document: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if isinstance(document, dict | list):
        raise _more_than_one(payload)
    return document


def _found(query: Query, document: object, payload: bytes) -> object:
    found = query.find(document)
    if found is MISSING:
        raise _no_value(query.text, payload)
    return found


def _text(part: _Part, document: object, payload: bytes) -> str | None:
    """A constant, or what a query finds: a text, or a number as text."""
    if not isinstance(part, Query):
        return part
    found = _found(part, document, payload)
    if isinstance(found, str):
        return found
    if isinstance(found, int | float) and not isinstance(found, bool):
        return str(found)
    raise Refused("no value", f"{part.text} finds {found!r:.80} in {payload[:80]!r}, which is no text")


def _no_value(what: str, payload: bytes) -> Refused:
    return Refused("no value", f"{what} finds nothing in {payload[:80]!r}")


def _more_than_one(payload: bytes) -> Refused:
    return Refused("no value", f"{payload[:80]!r} is more than one: say where it is with value or values")
