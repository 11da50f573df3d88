"""Whose a Redis is: an identity that each shard carries, written once and checked whenever a node is opened.

``iotd:shard`` is JSON: the system, the shard (named as its location), and when it was made. It is replicated and kept
like all data, so it is wherever the readings are. A node that carries another one belongs to another location or to
another system, however it came to stand at this address: it is not read, and nothing is written to it. etcd refuses a
member of another cluster id in the same way, and Kafka a broker of another ``cluster.id``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from iotd.model.errors import ShardForeign, ShardUnavailable
from iotd.model.series import location_of
from iotd.shards.connection import Connection, shard_error

IDENTITY_KEY = "iotd:shard"
TAKEN_OVER = "spool.sqlite.taken-over"
"""In the state directory: the spool of version 0.1, whose readings are in the log."""
_SCAN = 1_000
_ADOPT = "to take it over as it is, with what it holds: `iotd adopt`"


def from_0_1(state: Path) -> bool:
    """Whether a state directory was one of version 0.1, see :mod:`iotd.daemon.takeover`."""
    return (state / TAKEN_OVER).exists()


@dataclass(frozen=True, slots=True)
class Identity:
    """What a node says that it is.

    Attributes:
        created: ISO 8601, UTC.
    """

    system: str
    shard: str
    created: str

    @classmethod
    def new(cls, system: str, shard: str) -> Identity:
        """One that is made now."""
        return cls(system, shard, datetime.now(UTC).isoformat(timespec="seconds"))

    def __str__(self) -> str:
        return f"shard {self.shard!r} of system {self.system} (made {self.created})"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the nodes of a shard are to be.

    Attributes:
        system: None where it isn't known, as in a query on a machine without the daemon's state.
        checkpoint: the key of our log's checkpoint, by which a shard from before there were identities is known.
        legacy: the state directory was one of version 0.1, so that readings of this shard alone are its own.
    """

    shard: str
    system: str | None = None
    checkpoint: str | None = None
    legacy: bool = False

    def check(self, value: bytes | None, where: object) -> Identity | None:
        """The identity that was read from a node; None where it carries none.

        Raises:
            ShardForeign: it is another's.
        """
        if value is None:
            return None
        found = _parsed(value)
        if found is None:
            raise ShardForeign(f"{where}: {IDENTITY_KEY} holds {value[:100]!r}, which no iotd wrote")
        if found.shard != self.shard or self.system not in (None, found.system):
            ours = f"{self.shard!r}" + (f" of system {self.system}" if self.system else "")
            raise ShardForeign(
                f"{where} is {found}, not {ours}: check topology.shards and locations; nothing is written there"
                + (f"; {_ADOPT}" if found.shard == self.shard else "")
            )
        return found


async def identify(connection: Connection, expected: Expected) -> Identity | None:
    """What a node is; None where it carries no identity.

    Raises:
        ShardForeign: it is another's.
        ShardError: no answer.
    """
    return expected.check(await connection.call("GET", IDENTITY_KEY), connection.address)


async def claim(connection: Connection, expected: Expected) -> Identity:
    """Makes a master ours that carries no identity: an empty one, or one from before there were any.

    Raises:
        ShardForeign: it holds what is another's.
        ShardError: no answer.
    """
    assert expected.system is not None
    found = await identify(connection, expected)
    if found is not None:
        return found
    if not await _is_ours(connection, expected):
        raise ShardForeign(
            f"{connection.address} holds {await _told(connection)} and says nothing of whose they are: "
            f"check topology.shards and locations; nothing is written there; {_ADOPT}"
        )
    await write(connection, Identity.new(expected.system, expected.shard), replace=False)
    found = await identify(connection, expected)  # somebody may have been first
    if found is None:
        raise ShardUnavailable(f"{connection.address}: it was emptied while we looked at it")
    return found


async def write(connection: Connection, identity: Identity, *, replace: bool) -> None:
    """Writes an identity onto a master.

    Args:
        replace: also where it carries another one.

    Raises:
        ShardError: no answer, or it is not taken.
    """
    text = json.dumps(asdict(identity))
    await connection.call("SET", IDENTITY_KEY, text, *(() if replace else ("NX",)))


async def locations_held(connection: Connection) -> Counter[str]:
    """How many series a node holds, by location.

    Raises:
        ShardError: no answer.
    """
    return Counter([location async for location in _locations(connection)])


async def _is_ours(connection: Connection, expected: Expected) -> bool:
    asked: list[tuple[str, ...]] = [("DBSIZE",), ("EXISTS", expected.checkpoint or IDENTITY_KEY)]
    replies = await connection.call_many(asked)
    for reply in replies:
        if isinstance(reply, BaseException):
            raise shard_error(reply, f"{connection.address}: {IDENTITY_KEY}")
    size, checkpoint = replies
    if not size or checkpoint:
        return True
    async for location in _locations(connection):
        if not expected.legacy or location != expected.shard:
            return False
    return True  # or keys of other programs, which are none of our business


async def _told(connection: Connection) -> str:
    held = await locations_held(connection)
    names = ", ".join(f"{count:,} series of {location!r}" for location, count in held.most_common(3))
    return names + (f" and of {len(held) - 3} more locations" if len(held) > 3 else "")


async def _locations(connection: Connection) -> AsyncIterator[str]:
    cursor = b"0"
    while True:
        cursor, keys = await connection.call("SCAN", cursor, "MATCH", "sensor:*:*:*", "COUNT", _SCAN)
        for key in keys:
            yield unquote(location_of(key.decode(errors="replace")))
        if cursor == b"0":
            return


def _parsed(value: bytes) -> Identity | None:
    try:
        said = json.loads(value)
        return Identity(*(str(said[name]) for name in ("system", "shard", "created")))
    except (ValueError, KeyError, TypeError):
        return None
