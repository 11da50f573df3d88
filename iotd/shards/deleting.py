"""Deleting a range of some series from a shard."""

from __future__ import annotations

from collections.abc import Sequence

from iotd.shards.connection import Connection, shard_error

_AT_ONCE = 500
"""Commands in one round trip."""
_NOTHING_THERE = ("key does not exist", "not a TSDB key", "WRONGTYPE")
"""No series of ours is at the key, so that nothing of it is there to be deleted."""


async def delete_range(connection: Connection, keys: Sequence[bytes], first: int, last: int) -> None:
    """Deletes what these series hold from ``first`` to ``last`` (ms, both included); done again, it changes nothing.

    What has left the series by retention is no error, nor is a series that is not there. (RedisTimeSeries refuses to
    delete what is older than retention only where a compaction rule hangs on the series; iotd makes none.)

    Raises:
        ShardError: the node does not do it now.
    """
    if last < 0:
        return  # a shard holds nothing from before the epoch
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        replies = await connection.call_many([("TS.DEL", key, max(0, first), last) for key in some])
        for key, reply in zip(some, replies, strict=True):
            if isinstance(reply, BaseException) and not any(mark in str(reply) for mark in _NOTHING_THERE):
                raise shard_error(reply, f"{connection.address}: TS.DEL {key.decode()}")
