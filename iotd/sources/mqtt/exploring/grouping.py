"""Topics in groups, with their counts: as many as there may be, in memory that is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iotd.sources.mqtt.packets import Publish

_WIDTH = 12
"""Levels of one place that are told apart; when there are more, they become ``+``."""
_DEPTH = 12
"""Levels of a topic that are told apart; what is below is ``#``."""
_LEVEL = 100
"""Characters of a level that is told apart from others."""
_NODES = 10_000
MOST_TOPICS = 100_000
"""Topics that are known to be different ones; more are not counted."""
_EXAMPLE = 4_096
"""Bytes of a payload that are kept as an example."""
_TOPIC = 1_000
"""Characters of a topic that are."""


@dataclass(slots=True)
class Group:
    """Topics of one form.

    Attributes:
        pattern: a topic filter, which may match more.
        topics: how many; where there are very many, at least so many.
        messages, retained, qos0: how many; ``qos0`` of those that were not retained.
        topic, payload: of the last message, its beginning.
    """

    pattern: str = ""
    topics: int = 0
    messages: int = 0
    retained: int = 0
    qos0: int = 0
    topic: str = ""
    payload: bytes = b""

    def add(self, message: Publish, *, new: bool) -> None:
        """Counts a message of one of its topics."""
        self.topics += new
        self.messages += 1
        self.retained += message.retained
        self.qos0 += message.qos == 0 and not message.retained
        self.topic, self.payload = message.topic[:_TOPIC], message.payload[:_EXAMPLE]

    def join(self, other: Group) -> None:
        """Takes another one's messages too."""
        self.topics += other.topics
        self.messages += other.messages
        self.retained += other.retained
        self.qos0 += other.qos0
        self.topic, self.payload = other.topic, other.payload


class _Node:
    __slots__ = ("below", "children", "here")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.here: Group | None = None
        self.below: Group | None = None


class Topics:
    """A tree of the levels of topics, in which places with many different levels become wildcards."""

    def __init__(self) -> None:
        self._root = _Node()
        self._nodes = 1
        self._seen: set[int] = set()

    def add(self, message: Publish) -> None:
        """Counts a message."""
        digest = hash(message.topic)
        new = digest not in self._seen and len(self._seen) < MOST_TOPICS
        if new:
            self._seen.add(digest)
        node = self._root
        levels = message.topic.split("/", _DEPTH)
        for depth, level in enumerate(levels):
            child = self._child(node, level) if depth < _DEPTH else None
            if child is None:
                node.below = node.below or Group()
                node.below.add(message, new=new)
                return
            node = child
        node.here = node.here or Group()
        node.here.add(message, new=new)

    def groups(self) -> list[Group]:
        """All of them, those with the most messages first."""
        found = list(_groups(self._root, ()))
        return sorted(found, key=lambda one: (-one.messages, one.pattern))

    def _child(self, node: _Node, level: str) -> _Node | None:
        if (wild := node.children.get("+")) is not None:
            return wild
        if (child := node.children.get(level)) is not None:
            return child
        if self._nodes >= _NODES:
            return None
        if len(node.children) >= _WIDTH or len(level) > _LEVEL:
            joined = _Node()
            for one in node.children.values():
                self._join(joined, one)
            node.children = {"+": joined}
            self._nodes += 1
            return joined
        self._nodes += 1
        child = node.children[level] = _Node()
        return child

    def _join(self, into: _Node, other: _Node) -> None:
        self._nodes -= 1
        into.here = _joined(into.here, other.here)
        into.below = _joined(into.below, other.below)
        for level, child in other.children.items():
            self._join_child(into, level, child)

    def _join_child(self, into: _Node, level: str, child: _Node) -> None:
        if (wild := into.children.get("+")) is not None:
            self._join(wild, child)
        elif level in into.children:
            self._join(into.children[level], child)
        else:
            into.children[level] = child
            if level == "+" or len(into.children) > _WIDTH:
                joined = _Node()
                self._nodes += 1
                for one in into.children.values():
                    self._join(joined, one)
                into.children = {"+": joined}


def _joined(a: Group | None, b: Group | None) -> Group | None:
    if a is None or b is None:
        return a or b
    a.join(b)
    return a


def _groups(node: _Node, levels: tuple[str, ...]) -> Iterator[Group]:
    if node.here is not None:
        node.here.pattern = "/".join(levels)
        yield node.here
    if node.below is not None:
        node.below.pattern = "/".join((*levels, "#"))
        yield node.below
    for level, child in node.children.items():
        yield from _groups(child, (*levels, level))
