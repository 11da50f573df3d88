"""What becomes of a daemon whose shards are not there when it starts: wait for them, or fail."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from iotd.config.sections.operation import Startup
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
