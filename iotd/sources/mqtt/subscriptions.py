"""What we are subscribed to: kept in step with what rules and presets want, and noted where it outlives us."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from iotd.config.topics.filters import covers, disjoint
from iotd.sources.mqtt.connection import Connection
from iotd.sources.mqtt.packets import V5, reason_of
from iotd.sources.mqtt.presets.base import Filter

_AT_ONCE = 200
"""Filters in one packet."""


class Noted(Protocol):
    """Where it is noted what the broker's session has; see :class:`iotd.sources.mqtt.memory.Memory`."""

    subscribed: frozenset[str] | None

    async def subscribes(self, filters: Iterable[str]) -> None:
        """Notes what is subscribed to."""


class Subscriptions:
    """The subscriptions of one connection.

    All of them are asked for at each connection, also in a session that goes on: whether the broker still has them
    can't be asked, and one that it does not have is silence.

    Attributes:
        refused: by filter, why the broker does not take it, or at QoS 0 only.
    """

    def __init__(self, connection: Connection, memory: Noted) -> None:
        self.refused: dict[str, str] = {}
        self._connection = connection
        self._memory = memory
        self._asked: list[tuple[list[str], asyncio.Future[Sequence[int]]]] = []
        self._wanted: set[str] = set()
        self._ended: set[str] = set()

    def want(self, filters: Iterable[Filter]) -> None:
        """Subscribes to what is new, and ends what is no longer wanted.

        Retained messages are asked for where they announce something, and where a subscription is a new one.

        No message may come twice, so filters that overlap are made one.
        """
        wanted = list(filters)
        joined = disjoint([one.topic for one in wanted])
        stood = self._memory.subscribed or frozenset()
        if gone := sorted((stood | self._wanted) - set(joined) - self._ended):
            self._ended |= set(gone)
            self._asked.append(([], self._connection.unsubscribe(gone)))
        announcing = [one.topic for one in wanted if one.announces]
        new = [topic for topic in joined if topic not in self._wanted]
        self._wanted = set(joined)
        self._ended -= self._wanted
        for at in range(0, len(new), _AT_ONCE):
            some = [
                (topic, topic not in stood or any(covers(topic, one) for one in announcing))
                for topic in new[at : at + _AT_ONCE]
            ]
            self._asked.append(([topic for topic, _ in some], self._connection.subscribe(some)))

    @property
    def settled(self) -> bool:
        """Whether the broker has answered all."""
        return not self._asked

    async def settle(self) -> None:
        """Notes what the broker has answered by now.

        Raises:
            StateUnwritable: it can't be noted.
        """
        answered = [one for one in self._asked if one[1].done()]
        if not answered:
            return
        self._asked = [one for one in self._asked if not one[1].done()]
        taken = set[str]()
        for topics, answer in answered:
            for topic, code in zip(topics, answer.result(), strict=False):
                if code >= 0x80:
                    self.refused[topic] = "it does not take the topic filter" if code == 0x80 else reason_of(code, V5)
                else:
                    taken.add(topic)
                    if code == 0:
                        self.refused[topic] = "it gives QoS 0 only, which loses messages"
        before = self._memory.subscribed or frozenset()
        if (after := (before | taken) - self._ended) != self._memory.subscribed:
            await self._memory.subscribes(after)
