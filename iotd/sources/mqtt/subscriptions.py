"""What we are subscribed to: kept in step with what rules and presets want, and noted where it outlives us."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from iotd.config.topics.filters import covers, disjoint
from iotd.sources.mqtt.connection import Connection
from iotd.sources.mqtt.packets import V5, reason_of
from iotd.sources.mqtt.presets.base import Filter

_AT_ONCE = 200
"""Filters in one packet."""


class Noted(Protocol):
    """Where it is noted what the broker's session may have; see :class:`iotd.sources.mqtt.memory.Memory`."""

    subscribed: frozenset[str] | None

    async def subscribes(self, filters: Iterable[str]) -> None:
        """Notes what may be subscribed to."""


class _Asked(NamedTuple):
    """A packet to the broker: the filters that it is to begin with or to end, and its answer."""

    begun: Sequence[str]
    ended: Sequence[str]
    answer: asyncio.Future[Sequence[int]]


class Subscriptions:
    """The subscriptions of one connection.

    All of them are asked for at each connection, also in a session that goes on: whether the broker still has them
    can't be asked, and one that it does not have is silence.

    What is noted is all that the broker may have: noted before it is asked for, and until it is ended. One that it had
    and we did not know of would never be ended.

    Attributes:
        refused: by filter, why the broker does not take it, or at QoS 0 only.
    """

    def __init__(self, connection: Connection, memory: Noted) -> None:
        self.refused: dict[str, str] = {}
        self._connection = connection
        self._memory = memory
        self._asked: list[_Asked] = []
        self._wanted: set[str] = set()
        self._ended: set[str] = set()

    async def want(self, filters: Iterable[Filter]) -> None:
        """Subscribes to what is new, and ends what is no longer wanted.

        Retained messages of a new subscription come by themselves; they are asked for again where they announce
        something.

        No message may come twice, so filters that overlap are made one. What is new begins before what is old ends: a
        message between the two packets may come twice where both match, and none is lost.

        Raises:
            StateUnwritable: it can't be noted.
        """
        wanted = list(filters)
        joined = disjoint([one.topic for one in wanted])
        noted = self._memory.subscribed or frozenset()
        await self._note(noted.union(joined))
        gone = sorted(noted - set(joined) - self._ended)
        announcing = [one.topic for one in wanted if one.announces]
        new = [topic for topic in joined if topic not in self._wanted]
        self._wanted = set(joined)
        self._ended = self._ended.union(gone) - self._wanted
        for at in range(0, len(new), _AT_ONCE):
            some = new[at : at + _AT_ONCE]
            asked = [(topic, any(covers(topic, one) for one in announcing)) for topic in some]
            self._asked.append(_Asked(some, (), self._connection.subscribe(asked)))
        for at in range(0, len(gone), _AT_ONCE):
            some = gone[at : at + _AT_ONCE]
            self._asked.append(_Asked((), some, self._connection.unsubscribe(some)))

    @property
    def settled(self) -> bool:
        """Whether the broker has answered all, and that is noted."""
        return not self._asked

    async def settle(self) -> None:
        """Notes what the broker has answered by now.

        Raises:
            StateUnwritable: it can't be noted.
        """
        answered = [one for one in self._asked if one.answer.done()]
        if not answered:
            return
        waiting = [one for one in self._asked if not one.answer.done()]
        over = set[str]()
        for one in answered:
            over.update(one.ended)
            over.difference_update(one.begun)
            for topic, code in zip(one.begun, one.answer.result(), strict=False):
                if code >= 0x80:
                    self.refused[topic] = "it does not take the topic filter" if code == 0x80 else reason_of(code, V5)
                    over.add(topic)
                elif code == 0:
                    self.refused[topic] = "it gives QoS 0 only, which loses messages"
        over.difference_update(topic for one in waiting for topic in one.begun)
        await self._note((self._memory.subscribed or frozenset()) - over)
        self._asked = waiting

    async def _note(self, filters: frozenset[str]) -> None:
        if filters != self._memory.subscribed:
            await self._memory.subscribes(filters)
