"""Lines of TOML for what was found at a broker: presets, rules for plain topics, and rooms that nobody knows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any

import orjson

from iotd.config.sections.mqtt import ALONE, Broker
from iotd.intake.moments import moment_of
from iotd.intake.resolve import Resolver
from iotd.model.errors import Refused
from iotd.model.folding import folded
from iotd.sources.mqtt.exploring.grouping import Group
from iotd.sources.mqtt.exploring.survey import Survey
from iotd.sources.mqtt.presets.base import plain_text
from iotd.sources.mqtt.presets.registry import PRESETS

_RULES = 20
_ROOMS = 20
_VALUES = 12
_DEEP = 3
_TIMES = frozenset({"time", "timestamp", "ts", "last_seen", "datetime", "date", "measured_at"})
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"\s*[+-]?[0-9]+([.,][0-9]+)?\s*\D{0,12}")

Rule = dict[str, Any]
"""As a table ``[[mqtt.topic]]``."""


def suggestion(name: str, broker: Broker, survey: Survey, names: Resolver) -> str:
    """What to write into the configuration; empty: nothing.

    Args:
        name: of the broker's table.
        broker: as it is configured, or as it was asked for.
    """
    table = "mqtt" if name == ALONE else f"mqtt.{_key(name)}"
    configured = [use.name for use in broker.presets]
    found = [preset for preset in survey.presets if preset in PRESETS and preset not in configured]
    rules, unsure = rules_of(survey.unread, broker, names)
    lines: list[str] = []
    if found or rules:
        lines += [f"[{table}]", f"url = {_text(broker.url)}"]
        for setting in ("username", "password_file", "tls_ca_file", "tls_cert_file", "tls_key_file"):
            if (value := getattr(broker, setting)) is not None:
                lines.append(f"{setting} = {_text(str(value))}")
        uses = [_use(use.name, use.base) for use in broker.presets] + [_text(preset) for preset in found]
        if uses:
            lines.append(f"presets = [{', '.join(uses)}]")
        for rule in rules:
            lines += ["", *_table(f"{table}.topic", rule)]
    for rule in unsure:
        lines += ["", "# say what it measures:", *(f"# {line}" for line in _table(f"{table}.topic", rule))]
    lines += _rooms(survey)
    return "\n".join(lines).strip()


def rules_of(groups: Sequence[Group], broker: Broker, names: Resolver) -> tuple[list[Rule], list[Rule]]:
    """Rules for topics that nobody reads, which can be added to those of a broker; and those whose type a person has
    to name."""
    sure: list[Rule] = []
    unsure: list[Rule] = []
    before = [rule.model_dump(exclude_defaults=True) for rule in broker.topic]
    candidates = [rule for group in groups if (rule := rule_for(group, names)) is not None]
    # fewer wildcards first: what a rule before it takes can't reach the next
    for rule in sorted(candidates, key=lambda rule: rule["topic"].count("+") + rule["topic"].count("{")):
        if len(sure) + len(unsure) >= _RULES:
            break
        into = unsure if rule.get("type") == _UNKNOWN or _UNKNOWN in rule.get("values", ()) else sure
        if rule not in into and _fits([*before, *sure, *([] if into is sure else unsure), rule]):
            into.append(rule)
    return sure, unsure


_UNKNOWN = "WHAT"


def rule_for(group: Group, names: Resolver) -> Rule | None:
    """A rule for topics of one form, by the last message of one; None: it has no numbers."""
    levels, its = group.pattern.split("/"), group.topic.split("/")
    if levels[-1] == "#" or len(levels) != len(its) or any(set(level) & {"{", "}"} for level in levels):
        return None
    if (what := _values(group.payload, names)) is None:
        return None
    topic = list(levels)
    for at, level in enumerate(its):
        if names.knows_location(level):
            topic[at] = "{location}"
            break
    kind = next((at for at in reversed(range(len(its))) if topic[at] != "{location}" and names.knows(its[at])), None)
    rule: Rule = {"topic": ""}
    if kind is not None and "values" not in what:
        topic[kind] = "{type}"
    elif "values" not in what:
        what = {"type": _UNKNOWN, **what}
    rule["topic"] = "/".join(topic)
    return rule | what


def _values(payload: bytes, names: Resolver) -> Rule | None:
    """Where the numbers of a payload are; None: there are none."""
    try:
        text = plain_text(payload)
    except Refused:
        return None
    try:
        document: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        document = text
    if not isinstance(document, dict):
        return {} if isinstance(document, bool) or _is_number(document) else None
    numbers = [(path, value) for path, value in _members(document, ()) if _is_number(value)]
    when = next((path for path, value in _members(document, ()) if _is_time(path[-1], value)), None)
    numbers = [(path, value) for path, value in numbers if path != when]
    known = {path[-1]: _query(path) for path, _ in numbers if names.knows(path[-1])}
    found: Rule
    if known:
        found = {"values": dict(list(known.items())[:_VALUES])}
    elif len(numbers) == 1:
        found = {"value": _query(numbers[0][0])}
    elif numbers:
        found = {"values": {_UNKNOWN: _query(numbers[0][0])}}
    else:
        return None
    return found if when is None else found | {"time": _query(when)}


def _members(document: Mapping[str, object], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, value in document.items():
        if isinstance(value, dict):
            if len(path) < _DEEP:
                yield from _members(value, (*path, name))
        else:
            yield (*path, name), value


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return _NUMBER.fullmatch(value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_time(name: str, value: object) -> bool:
    if folded(name) not in _TIMES:
        return False
    try:
        return moment_of(value, UTC) is not None
    except Refused:
        return False


def _query(path: Iterable[str]) -> str:
    return "$" + "".join(f".{name}" if _MEMBER.fullmatch(name) else f"[{json.dumps(name)}]" for name in path)


def _fits(rules: Sequence[Rule]) -> bool:
    try:
        Broker.model_validate({"url": "mqtt://localhost", "topic": rules})
    except ValueError:
        return False
    return True


def _rooms(survey: Survey) -> list[str]:
    """Sensors whose room nobody knows."""
    lost: dict[str, str] = {}
    for one in survey.seen.values():
        if one.last is not None and one.fate is not None and not one.fate.location and "location" in one.fate.reason:
            lost.setdefault(one.last.sensor, one.last.location or ", ".join(one.last.hints))
    if not lost:
        return []
    lines = ["", "# No location is found for these. Give a location one of the words as an alias, as in"]
    lines += [
        '# [locations.salon]  aliases = ["living room"]',
        "# or say where each is: iotd sensors assign SENSOR ROOM",
    ]
    lines += [
        f"#   {_text(sensor)}" + (f" in {_text(told)}" if told and told != sensor else "")
        for sensor, told in list(lost.items())[:_ROOMS]
    ]
    return lines + ([f"#   and {len(lost) - _ROOMS} more"] if len(lost) > _ROOMS else [])


def _table(name: str, rule: Rule) -> list[str]:
    return [f"[[{name}]]", *(f"{key} = {_value(value)}" for key, value in rule.items())]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(key)} = {_text(its)}' for key, its in value.items())} }}"
    return _text(value)


def _use(name: str, base: str | None) -> str:
    return _text(name) if base is None else f"{{ name = {_text(name)}, base = {_text(base)} }}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    # a JSON string is one of TOML's, but for DEL and halves of surrogate pairs
    clean = text.encode(errors="backslashreplace").decode()
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007F")
