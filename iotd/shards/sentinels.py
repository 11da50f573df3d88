"""What Sentinels say: their events as they publish them, and their answers when asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from time import time_ns

from iotd.config.topology import Node, Shard
from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.model.errors import ShardError, ShardMisconfigured
from iotd.shards.connection import Connection
from iotd.shards.election import Claim

_BLIND_MS = 10_000
"""It asks for INFO every ten seconds: a clock that was ahead by less does no harm."""

TROUBLE = frozenset({"+sdown", "+odown", "+try-failover", "+new-epoch", "+reboot", "+switch-master", "+promoted-slave"})
"""Events after which the nodes' roles are probed closely."""


@dataclass(frozen=True, slots=True)
class SentinelEvent:
    """One event of one Sentinel about our master or its nodes.

    Attributes:
        at: when it reached us, ms.
        sentinel: the node's name.
        event: as Sentinel names it: ``+odown``, ``+switch-master``.
        text: the rest of the message.
        master: the event concerns the master itself (rather than a replica or another Sentinel).
    """

    at: int
    sentinel: str
    event: str
    text: str
    master: bool


class NotWatched(ShardError):
    """A Sentinel watches no master of that name: it is another shard's, or has forgotten ours."""


class AddressMap:
    """Translates what Sentinels and nodes say of each other into addresses that we reach.

    By ``topology.address_map`` first; else a host that is called like one of the shard's nodes is that node, as in a
    container network, where servers know each other by name and we reach them by a published port.
    """

    def __init__(self, shard: Shard, settings: Tree) -> None:
        self._given = settings.topology.address_map
        self._named = {node.name: node.address for node in shard.redis}

    def __call__(self, host: str, port: int) -> Address:
        said = Address(host, port)
        if (whole := self._given.get(str(said))) is not None:
            return whole
        return self._given.get(host) or self._named.get(host, said)


def blind_s(said: Mapping[bytes, bytes]) -> float:
    """For how many seconds a Sentinel will not ask the nodes for INFO, by its SENTINEL MASTER; 0 where it does.

    It asks every ten seconds by the wall clock. Where that was ahead for a moment, it last asked in the future, and
    asks again only when the clock has come there. Until then it notices no promotion, so that it can't complete a
    failover (Redis 7.4: ``-failover-abort-slave-timeout``). Starting it again heals it.
    """
    ahead_ms = -int(said.get(b"info-refresh", b"0"))
    return ahead_ms / 1000 if ahead_ms > _BLIND_MS else 0.0


class SentinelClient:
    """One Sentinel, asked over one long-lived connection, and its events over another."""

    def __init__(self, node: Node, shard: Shard, settings: Tree) -> None:
        self.node = node
        self._service = shard.service
        self._settings = settings.sentinel
        self._map = AddressMap(shard, settings)
        self.blind_s = 0.0
        """For so long it will not ask the nodes who they are, as it last said; see :func:`blind_s`."""
        self._asking: Connection | None = None
        self._listening: Connection | None = None

    async def claim(self) -> Claim:
        """Where this Sentinel says the master is, and since which configuration epoch.

        Raises:
            NotWatched: it does not know our master's name.
            ShardError: no answer in time.
        """
        try:
            if self._asking is None:
                self._asking = await self._open()
            reply = await self._asking.call("SENTINEL", "MASTER", self._service)
        except ShardMisconfigured:
            raise
        except ShardError as e:
            if "No such master" in str(e):
                raise NotWatched(
                    f"{self.node.name} at {self.node.address} watches no master named {self._service!r}: "
                    "check topology.shards, or start it anew with `iotd stack up`"
                ) from None
            await self.close_asking()
            raise
        except BaseException:
            await self.close_asking()
            raise
        said = dict(zip(reply[::2], reply[1::2], strict=False))
        self.blind_s = blind_s(said)
        return Claim(self._map(said[b"ip"].decode(), int(said[b"port"])), int(said[b"config-epoch"]))

    async def fail_over(self) -> None:
        """Has it promote a replica now, though the master is well; the master is told to follow it.

        https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/ (SENTINEL FAILOVER)

        Raises:
            ShardError: no answer, or it refuses (no good replica, a failover under way).
        """
        connection = await self._open()
        try:
            await connection.call("SENTINEL", "FAILOVER", self._service)
        finally:
            await connection.close()

    async def events(self) -> AsyncGenerator[SentinelEvent, None]:
        """Its events about our master, from now on, until the connection breaks.

        Raises:
            ShardError: it can't be reached, or the connection broke.
        """
        self._listening = await self._open()
        try:
            await self._listening.call("PSUBSCRIBE", "*")
            while True:
                message = await self._listening.receive()
                if (event := self._parse(message)) is not None:
                    yield event
        finally:
            await self._listening.close()
            self._listening = None

    def _parse(self, message: object) -> SentinelEvent | None:
        if not (isinstance(message, list) and len(message) == 4 and message[0] == b"pmessage"):
            return None
        event, text = message[2].decode(), message[3].decode()
        words = text.split()
        # `master NAME ip port`, `NAME oldip oldport newip newport`, or `TYPE name ip port @ NAME ip port`
        about_master = words[:2] == ["master", self._service] or (
            event == "+switch-master" and words[0] == self._service
        )
        about_ours = "@" in words and words[words.index("@") + 1 :][:1] == [self._service]
        if not (about_master or about_ours):
            return None
        return SentinelEvent(time_ns() // 1_000_000, self.node.name, event, text, about_master)

    def hang_up(self) -> None:
        """Breaks the event connection, so that :meth:`events` ends: this Sentinel no longer answers."""
        if self._listening is not None:
            self._listening.abort()

    async def _open(self) -> Connection:
        timeout = self._settings.timeout.total_seconds()
        return await Connection.open(
            self.node.address, self._settings, connect_timeout=timeout, response_timeout=timeout
        )

    async def close_asking(self) -> None:
        if self._asking is not None:
            connection, self._asking = self._asking, None
            await connection.close()
