"""What becomes of a daemon whose shards are not there when it starts: wait for them, or fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress

from iotd.config.sections.operation import Startup
from iotd.intake.catalogue import Catalogue
from iotd.log.base import Log
from iotd.model.errors import IotdError
from iotd.ops.loggers import get_logger
from iotd.ops.tasks import together
from iotd.shards.service import ShardService

log = get_logger(__name__)


class ShardMissing(IotdError):
    """A shard without which the daemon must not start (startup.missing) has no master."""

    exit_code = 69


async def require_shards(policy: Startup, shards: Mapping[str, ShardService]) -> None:
    """Returns when every shard that must be there has a master.

    Raises:
        ShardMissing: one of them has none within ``startup.limit``.
    """

    async def must(name: str, shard: ShardService) -> None:
        if not await _there(policy, shard):
            raise ShardMissing(
                f"{name}: no master within {policy.limit.total_seconds():g} s, and startup.missing is fail for it; "
                "see `iotd stack status` and start its servers, or set it to wait"
            )

    async with together() as group:
        for name, shard in shards.items():
            if policy.shards.get(name, policy.missing) == "fail":
                group.create_task(must(name, shard))


_TAIL_RECORDS, _TAIL_BYTES, _TAIL_S = 500, 4 << 20, 10.0
"""Records of each location's part of the log that are looked at (some seconds' at least), bytes at once, seconds."""


async def note_newest(durable: Log, catalogue: Catalogue, locations: Iterable[str]) -> None:
    """Has the catalogue know the newest readings again, of which it was not saved when the daemon was killed.

    What is taken next must not get their times, nor replace their values unseen.
    """
    with suppress(TimeoutError):  # a log that can't be read now is told of; nothing is taken by the shards either
        async with asyncio.timeout(_TAIL_S):
            for name in locations:
                partition = durable.partition(name)
                after = max(partition.begin - 1, partition.end - _TAIL_RECORDS)
                while records := await partition.read(after, _TAIL_BYTES):
                    for record in records:
                        catalogue.note(record.series, record.times, record.values)
                    after = records[-1].sequence


async def tell_missing(policy: Startup, name: str, shard: ShardService) -> None:
    """Says it, once, when a shard has no master within ``startup.limit``."""
    if not await _there(policy, shard):
        effect = "its readings wait in the log"
        log.warning("shard_missing", shard=name, after_s=policy.limit.total_seconds(), effect=effect)


async def _there(policy: Startup, shard: ShardService) -> bool:
    try:
        async with asyncio.timeout(policy.limit.total_seconds()):
            await shard.watcher.accepting()
    except TimeoutError:
        return False
    return True
