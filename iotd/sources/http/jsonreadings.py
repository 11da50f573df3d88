"""`POST /readings`: readings as JSON, for scripts and `curl`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from iotd.model.errors import Refused
from iotd.model.observation import Moment, Observation

_KEYS = ("type", "location", "sensor", "value", "unit", "time", "hints")
_NEEDED = ("type", "sensor", "value")
_EXAMPLE = '{"type": "temperature", "location": "salon", "sensor": "north", "value": 21.3}'


def objects(body: bytes) -> list[Any]:
    """What stands for a reading each: an object, a list of them, or an object a line.

    Raises:
        Refused: it is none of these.
    """
    said: Any
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError as whole:
        try:
            said = [orjson.loads(line) for line in body.splitlines() if line.strip()] or None
        except orjson.JSONDecodeError:
            raise Refused("not JSON", f"{whole}; send {_EXAMPLE}, or a list of such") from None
    return listed(said)


def listed(said: Any) -> list[Any]:
    """As :func:`objects`, of a body that was read.

    Raises:
        Refused: it is no object, and no list.
    """
    if isinstance(said, Mapping):
        said = said.get("readings", [said])
    if not isinstance(said, list):
        raise Refused("not readings", f"send {_EXAMPLE}, or a list of such")
    return said


def as_dict(one: Observation) -> dict[str, Any]:
    """The object that says this; its time in ms, or as its source gave it."""
    said = {key: getattr(one, key) for key in _KEYS}
    if isinstance(one.time, Moment):
        said["time"] = one.time.ms
    said["hints"] = [hint for hint in one.hints if hint]
    return {key: value for key, value in said.items() if key in _NEEDED or value not in (None, "", [])}


def as_json(one: Observation) -> bytes:
    """:func:`as_dict` as a body."""
    return orjson.dumps(as_dict(one), default=str)


def reading(said: Any) -> Observation:
    """The reading that an object says.

    Raises:
        Refused: it says none.
    """
    if not isinstance(said, Mapping):
        raise Refused("not a reading", f"{said!r:.80} is no object like {_EXAMPLE}")
    if unknown := sorted(said.keys() - set(_KEYS)):
        raise Refused("not a reading", f"no key {unknown[0]!r:.80}; there are {', '.join(_KEYS)}")
    for key in _NEEDED:
        if key not in said:
            raise Refused("not a reading", f"it lacks {key}: {_EXAMPLE}")
    texts = {key: said.get(key) for key in ("type", "location", "sensor", "unit")}
    for key, text in texts.items():
        if isinstance(text, int) and not isinstance(text, bool):
            texts[key] = str(text)
        elif text is not None and not isinstance(text, str):
            raise Refused("not a reading", f"{key} must be text, not {text!r:.80}")
    hints = said.get("hints", ())
    if not (isinstance(hints, list | tuple) and all(isinstance(hint, str) for hint in hints)):
        raise Refused("not a reading", f"hints must be a list of texts, not {hints!r:.80}")
    return Observation(
        type=texts["type"] or "",
        sensor=texts["sensor"] or "",
        value=said["value"],
        location=texts["location"] or "",
        unit=texts["unit"] or None,
        time=said.get("time"),
        hints=tuple(hints),
    )
