"""Topic filters of MQTT: which topics they match, and how they lie to each other."""

from __future__ import annotations

from collections.abc import Iterable

Levels = tuple[str, ...]

_SAME = {"+/#": ("#",), "/#": ("", "+", "#")}
"""Filters that match the same, as a topic is never empty: `+/#` matches no less than `#`, and all that `/#` would match
beside `/+/#` is the empty topic."""
MOST_BYTES = 65_535
"""Of a topic or a filter in UTF-8."""


def valid(topic_filter: str) -> bool:
    """Whether a text is a filter (MQTT 5, 4.7.1): `+` and `#` are whole levels, and `#` is the last one."""
    if not topic_filter or "\0" in topic_filter:
        return False
    try:
        if len(topic_filter.encode()) > MOST_BYTES:
            return False
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    *before, last = topic_filter.split("/")
    return all("#" not in level and ("+" not in level or level == "+") for level in before) and (
        last in ("#", "+") or not ("#" in last or "+" in last)
    )


def valid_topic(topic: str) -> bool:
    """Whether messages can be published to it: a filter without wildcards."""
    return valid(topic) and "+" not in topic and "#" not in topic


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter matches a topic; one that begins with a wildcard matches none that begins with `$` (4.7.2)."""
    return _covers(_levels(topic_filter), tuple(topic.split("/")))


def covers(a: str, b: str) -> bool:
    """Whether `a` matches all that `b` matches."""
    return _covers(_levels(a), _levels(b))


def overlap(a: str, b: str) -> bool:
    """Whether there is a topic that both match."""
    return _overlap(_levels(a), _levels(b))


def join(a: str, b: str) -> str:
    """A filter that matches all that two overlapping ones match: where their levels differ it has a wildcard."""
    return _text(_join(_levels(a), _levels(b)))


def disjoint(topic_filters: Iterable[str]) -> list[str]:
    """Filters that match all that these match, and of which no topic is matched by two.

    A broker may hand a message over once for each subscription that matches (MQTT 5, 3.3.4). What another one covers is
    dropped; two that overlap in part become their :func:`join`, which matches more.
    """
    plain: dict[Levels, None] = {}
    wild: list[Levels] = []
    for one in dict.fromkeys(map(_levels, topic_filters)):
        if not _is_wild(one):
            plain[one] = None
            continue
        while over := [other for other in wild if _overlap(one, other)]:
            wild = [other for other in wild if other not in over]
            for other in over:
                one = other if _covers(other, one) else one if _covers(one, other) else _join(one, other)  # noqa: PLW2901
        wild.append(one)
    left = [topic for topic in plain if not any(_covers(one, topic) for one in wild)]
    return [_text(one) for one in (*wild, *left)]


def _levels(topic_filter: str) -> Levels:
    return _SAME.get(topic_filter) or tuple(topic_filter.split("/"))


def _text(levels: Levels) -> str:
    return "/#" if levels == _SAME["/#"] else "/".join(levels)


def _is_wild(levels: Levels) -> bool:
    return levels[-1] == "#" or "+" in levels


def _hidden(a: Levels, b: Levels) -> bool:
    """Whether the wildcard that `a` begins with keeps it from what `b` begins with."""
    return a[0] in ("+", "#") and b[0].startswith("$")


def _covers(a: Levels, b: Levels) -> bool:
    if _hidden(a, b):
        return False
    if a[-1] == "#":
        head = len(a) - 1
        if len(b) < head:
            return False
    else:
        head = len(a)
        if len(b) != head or b[-1] == "#":
            return False
    return all(mine in ("+", its) and its != "#" for mine, its in zip(a[:head], b, strict=False))


def _overlap(a: Levels, b: Levels) -> bool:
    if _hidden(a, b) or _hidden(b, a):
        return False
    for mine, its in zip(a, b, strict=False):
        if mine == "#" or its == "#":
            return True
        if mine not in (its, "+") and its != "+":
            return False
    # `a/#` matches `a` too
    return len(a) == len(b) or (a if len(a) > len(b) else b)[min(len(a), len(b))] == "#"


def _join(a: Levels, b: Levels) -> Levels:
    joined: list[str] = []
    for mine, its in zip(a, b, strict=False):
        if "#" in (mine, its):
            break
        joined.append(mine if mine == its else "+")
    else:
        if len(a) == len(b):
            return tuple(joined)
    return _levels("/".join([*joined, "#"]))
