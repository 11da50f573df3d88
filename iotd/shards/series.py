"""Making the series of a location: once, with labels and retention, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from iotd.config.tree import Redis
from iotd.model.series import Series
from iotd.shards.connection import Connection, shard_error

log = structlog.get_logger(__name__)

_AT_ONCE = 500


async def make_series(connection: Connection, sensors: Iterable[Series], settings: Redis) -> int:
    """Makes the series that are missing, and gives those that exist today's retention, policy and labels.

    TS.CREATE comes before any sample, because labels and retention given in TS.ADD were not replicated
    (RedisTimeSeries #1455), and LAST, because the default policy BLOCK fails on a replay (facts.md).

    A key that is taken by something else stays as it is; what is written to it goes to the dead letters.

    Returns:
        how many were made.

    Raises:
        ShardError: the node refuses for another reason than that the series exists.
    """
    made = 0
    sensors = list(sensors)
    for start in range(0, len(sensors), _AT_ONCE):
        some = sensors[start : start + _AT_ONCE]
        replies = await connection.call_many([("TS.CREATE", s.key, *_options(s, settings)) for s in some])
        existing = []
        for sensor, reply in zip(some, replies, strict=True):
            if not isinstance(reply, BaseException):
                made += 1
            elif "already exists" in str(reply):
                existing.append(sensor)
            else:
                raise shard_error(reply, f"{connection.address}: TS.CREATE {sensor.key}")
        replies = await connection.call_many([("TS.ALTER", s.key, *_options(s, settings)) for s in existing])
        for sensor, reply in zip(existing, replies, strict=True):
            if not isinstance(reply, BaseException):
                continue
            if not any(mark in str(reply) for mark in ("WRONGTYPE", "not a TSDB key")):
                raise shard_error(reply, f"{connection.address}: TS.ALTER {sensor.key}")
            log.error("key_taken", key=sensor.key, node=str(connection.address), hint="rename or delete that key")
    return made


def _options(sensor: Series, settings: Redis) -> list[str | int]:
    labels = [text for pair in sensor.labels.items() for text in pair]
    retention = round(settings.retention.total_seconds() * 1000)
    return [
        *("RETENTION", retention, "CHUNK_SIZE", settings.chunk_bytes, "DUPLICATE_POLICY", "LAST"),
        *("LABELS", *labels),
    ]
