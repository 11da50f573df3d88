"""Patterns of topics: filters of MQTT in which `{location}`, `{type}` and `{sensor}` say what a level is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from iotd.config.topics.filters import covers, valid

PLACES = ("location", "type", "sensor")
_PLACE = re.compile(r"\{([^{}]*)\}")
_SEPARATORS = " -_.:"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern that was read.

    Attributes:
        text: as it was written.
        filter: what to subscribe to; it may match more than the pattern.
        places: what of :data:`PLACES` stands in it.
    """

    text: str
    filter: str
    places: frozenset[str]
    _levels: tuple[str | re.Pattern[str], ...]

    def match(self, topic: str) -> Mapping[str, str] | None:
        """What stands at its places in a topic that its filter matches; None: the topic is none of these."""
        found: dict[str, str] = {}
        for mine, its in zip(self._levels, topic.split("/"), strict=False):
            if isinstance(mine, re.Pattern):
                match = mine.fullmatch(its)
                if match is None:
                    return None
                found |= match.groupdict()
        return found

    def without_type(self, topic: str) -> str:
        """A topic without what stands at `{type}` in it: what values of several types of one device share."""
        levels = []
        for at, its in enumerate(topic.split("/")):
            mine = self._levels[at] if at < len(self._levels) else ""
            if isinstance(mine, re.Pattern) and "type" in mine.groupindex and (match := mine.fullmatch(its)):
                begin, end = match.span("type")
                its = "".join((its[:begin].rstrip(_SEPARATORS), its[end:])).strip(_SEPARATORS)  # noqa: PLW2901
                if not its:
                    continue
            levels.append(its)
        return "/".join(levels)

    def covers(self, other: Pattern) -> bool:
        """Whether it matches all topics that another one does."""
        levels = []
        for at, mine in enumerate(self.filter.split("/")):
            rule = self._levels[at]
            if isinstance(rule, re.Pattern) and rule.pattern not in _WHOLE:
                its = other._levels[at] if at < len(other._levels) else ""
                if isinstance(its, re.Pattern):
                    if _shape(its) != _shape(rule):
                        return False
                elif its in ("+", "#") or rule.fullmatch(its) is None:
                    return False
                levels.append(other.filter.split("/")[at] if at < len(other._levels) else mine)
            else:
                levels.append(mine)
        return covers("/".join(levels), other.filter)


def pattern_of(text: str) -> Pattern:
    """Reads a pattern.

    Raises:
        ValueError: it is none; the text says what is wrong with it.
    """
    if not text:
        raise ValueError("it is empty")
    if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text):
        raise ValueError(f"{text!r} has a control character in it")
    if text.startswith("$share/"):
        raise ValueError(
            f"{text!r} is a shared subscription, which hands messages over out of order; leave $share/… out"
        )
    names = _PLACE.findall(text)
    for name in names:
        if name not in PLACES:
            raise ValueError(f"{text!r} has {{{name}}} in it; there are {{location}}, {{type}} and {{sensor}}")
        if names.count(name) > 1:
            raise ValueError(f"{text!r} has {{{name}}} twice")
    levels = text.split("/")
    if "#" in levels[:-1]:
        raise ValueError(f"{text!r} has # before its end: it stands for all levels from there on, so it has to be last")
    rules = tuple(_level(text, level) for level in levels)
    topic_filter = "/".join("+" if isinstance(rule, re.Pattern) else rule for rule in rules)
    if not valid(topic_filter):
        raise ValueError(
            f"{text!r:.200} is no topic filter: + and # have to be whole levels, and 65535 bytes are the most"
        )
    if levels[0].startswith("$") and isinstance(rules[0], re.Pattern):
        raise ValueError(
            f"{text!r} can match nothing: topics that begin with $ are matched by their whole first level only"
        )
    return Pattern(text, topic_filter, frozenset(names), rules)


def _level(text: str, level: str) -> str | re.Pattern[str]:
    parts = _PLACE.split(level)  # text, name, text, name, text
    if any("{" in part or "}" in part for part in parts[::2]):
        raise ValueError(f"{text!r} has a brace that belongs to no {{location}}, {{type}} or {{sensor}}")
    if len(parts) == 1:
        return level
    if any(not between for between in parts[2:-1:2]):
        raise ValueError(f"{text!r} has two names side by side, so that nobody knows where one ends")
    if any("+" in part or "#" in part for part in parts[::2]):
        raise ValueError(f"{text!r} has a wildcard beside a name in one level")
    if len(parts) == 3 and not parts[0] and not parts[2]:
        return _WHOLE_LEVEL[parts[1]]
    return re.compile("".join(f"(?P<{part}>[^/]+)" if at % 2 else re.escape(part) for at, part in enumerate(parts)))


def _shape(rule: re.Pattern[str]) -> str:
    return re.sub(r"\?P<\w+>", "", rule.pattern)


_WHOLE_LEVEL = {name: re.compile(f"(?P<{name}>[^/]*)") for name in PLACES}
_WHOLE = frozenset(rule.pattern for rule in _WHOLE_LEVEL.values())
"""A whole level may be empty, as one that `+` matches; a part of a level may not."""
