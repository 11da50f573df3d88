"""What several presets find in texts: types in longer names, who is there, what topics are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import orjson

from iotd.model.errors import Refused
from iotd.model.folding import folded
from iotd.model.observation import Names
from iotd.model.types import BUILT_IN, Kind
from iotd.sources.mqtt.presets.base import Heard, Presence, plain_text

_T = TypeVar("_T")

_THERE = {"online": True, "true": True, "on": True, "1": True, "connected": True}
_THERE |= {"offline": False, "false": False, "off": False, "0": False, "disconnected": False}
_LONGEST_VALUE = 200
"""Bytes of a plain value: longer ones are no readings."""
_MOST = 4_096
"""Texts that a memo has."""
_ALSO = {
    "pm2_5": "pm25",
    "pm_2_5": "pm25",
    "pm1_0": "pm1",
    "pm_1_0": "pm1",
    "pm_10": "pm10",
    "pm_10_0": "pm10",
    "wifi_signal": "rssi",
}
"""What the types are called in object ids beside their own names."""
# fmt: off
_OTHER = frozenset({
    "absolute", "alarm", "apparent", "calibration", "color", "colour", "correction", "count", "direction", "distance",
    "duration", "factor", "flow", "frequency", "intensity", "level", "limit", "move", "moving", "number", "offset",
    "rate", "reactive", "resistance", "set", "setpoint", "soil", "still", "target", "threshold", "time", "trend",
    "yesterday",
})
# fmt: on
"""Words that make another quantity of the type beside them: a wind direction is no wind."""
_KINDS: dict[str, Kind] = {folded(name): row.kind for row in BUILT_IN.values() for name in (row.name, *row.aliases)}


_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z]{2})")
_LONGEST_NAME = 200
"""Characters of a name that are looked at."""


class Meaning(NamedTuple):
    """What a longer name says.

    Attributes:
        type: a sensor type by one of its names, with or without a unit.
        rest: the other words of the name, which tell sensors of one type apart; may be empty.
        kind: of a built-in type; None: of another one.
    """

    type: str
    rest: str
    kind: Kind | None


def meaning_of(name: str, names: Names) -> Meaning | None:
    """The sensor type that is named in a longer name: the longest run of words that is one, of several the last.

    Returns:
        None: none is, or the other words make another quantity of it (``wind_direction``).
    """
    words = folded(_CAMEL.sub("_", name[:_LONGEST_NAME])).split("_")
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length, -1, -1):
            run = words[start : start + length]
            if length > 1 and run[-1].isdigit() and "_".join(run) not in _ALSO:
                continue  # a number, and no unit
            kind = _ALSO.get("_".join(run), "_".join(run))
            if kind and names.knows(kind):
                rest = words[:start] + words[start + length :]
                return None if _OTHER & set(rest) else Meaning(kind, " ".join(rest), kind_of(kind))
    return None


def type_in(name: str, names: Names) -> str | None:
    """The type of :func:`meaning_of` alone."""
    found = meaning_of(name, names)
    return None if found is None else found.type


def kind_of(name: str) -> Kind | None:
    """The kind of a built-in type, by any of its names, with or without a unit; None: it is none."""
    whole = folded(name)
    return _KINDS.get(whole) or _KINDS.get(whole.rpartition("_")[0])


class Memo(Generic[_T]):
    """What texts mean: found once, and found anew when other names are known. It changes nothing but the speed."""

    def __init__(self, find: Callable[[str, Names], _T]) -> None:
        self._find = find
        self._names: Names | None = None
        self._found: dict[str, _T] = {}

    def __len__(self) -> int:
        return len(self._found)

    def of(self, text: str, names: Names) -> _T:
        """What it means where these names are known."""
        if names is not self._names:
            self._names, self._found = names, {}
        try:
            return self._found[text]
        except KeyError:
            if len(self._found) >= _MOST:
                self._found.clear()
            found = self._found[text] = self._find(text, names)
            return found


def plain_value(payload: bytes) -> str:
    """A value that is the whole of a payload, as text.

    Raises:
        Refused: it is not UTF-8, or too long for a value.
    """
    if len(payload) > _LONGEST_VALUE:
        raise Refused("not of this form", f"a value has at most {_LONGEST_VALUE} bytes, and this has {len(payload)}")
    return plain_text(payload)


def is_there(text: str) -> bool | None:
    """Whether an availability topic or a last will says that somebody is there; None: it says nothing of it."""
    return _THERE.get(text.casefold())


def presence(payload: bytes, who: str, *, gateway: bool = False) -> Heard:
    """What an availability topic says: ``online``, or ``{"state": "online"}``.

    Raises:
        Refused: it says neither that somebody is there nor that they are gone, or nobody is named.
    """
    if not who:
        raise Refused("not of this form", "its topic names nobody who is there or gone")
    text = plain_value(payload)
    if text.startswith("{"):
        try:
            state = orjson.loads(text).get("state")
        except orjson.JSONDecodeError as e:
            raise Refused("not JSON", f"an availability is online or offline: {e}") from None
        text = state if isinstance(state, str) else ""
    online = is_there(text)
    if online is None:
        raise Refused("not of this form", f"an availability is online or offline, and this is {text!r:.80}")
    return Heard(presence=(Presence(who, online, gateway),))


def perhaps_presence(payload: bytes, who: str) -> Heard:
    """The same of a topic that others may use for something else: anything else is passed over."""
    try:
        return presence(payload, who)
    except Refused:
        return Heard(passed_over=(who,))


def under(base: str, levels: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """Parts the levels of a topic at the end of its base, which may hold ``+``.

    Returns:
        the levels that stand for a ``+`` of the base, and those behind the base; None: it does not begin with the base.
    """
    begin = base.split("/")
    if len(levels) < len(begin) or any(own not in ("+", level) for own, level in zip(begin, levels, strict=False)):
        return None
    wild = [level for own, level in zip(begin, levels, strict=False) if own == "+"]
    return wild, list(levels[len(begin) :])
