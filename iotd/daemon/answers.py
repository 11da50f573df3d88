"""What the control socket answers: the daemon as the command line sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iotd.config.diff import Change
from iotd.model.errors import ShardUnavailable
from iotd.ops.control import Handler
from iotd.shards.audit import Audit, audit
from iotd.web.state import DaemonState

if TYPE_CHECKING:
    from iotd.daemon.daemon import Daemon

_CHECKED_MS = 120_000
_CHECK_LIMIT_S = 30
_CONFIRM_LIMIT_S = 10
"""While no replica is there nothing is confirmed: then what is known is archived."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a reload has changed, or would."""

    changes: list[Change]


def answers(daemon: Daemon) -> Mapping[tuple[str, str], Handler]:
    """The handlers by method and path."""

    async def status(params: Mapping[str, str]) -> DaemonState:
        return daemon.state()

    async def archive_now(params: Mapping[str, str]) -> Any:
        # only with the confirmation is it known which of the readings came late, behind the watermarks
        with suppress(TimeoutError):
            async with asyncio.timeout(_CONFIRM_LIMIT_S):
                await daemon.queue.drained()
        return await daemon.archive.archiver.cycle()

    async def archive_verify(params: Mapping[str, str]) -> Any:
        return await daemon.archive.archiver.verify(deep=params.get("deep") == "1", repair=params.get("repair") == "1")

    async def archive_retry(params: Mapping[str, str]) -> Any:
        return await daemon.archive.archiver.retry_rejected()

    async def history(params: Mapping[str, str]) -> dict[str, int]:
        days = float(params.get("days", daemon.settings.simulator.history_days))
        locations = list(daemon.locations.values())
        done = await asyncio.gather(*(location.simulator.history(days) for location in locations))
        return {location.name: count for location, count in zip(locations, done, strict=True)}

    async def plan(params: Mapping[str, str]) -> Changes:
        _, differs = await asyncio.to_thread(daemon.reloader.plan)
        return Changes(differs.changes)

    async def reload(params: Mapping[str, str]) -> Changes:
        return Changes(await daemon.reload())

    async def check(params: Mapping[str, str]) -> Audit:
        return await _check(daemon, params.get("location", ""))

    return {
        ("GET", "/status"): status,
        ("POST", "/archive/now"): archive_now,
        ("POST", "/archive/verify"): archive_verify,
        ("POST", "/archive/retry-rejected"): archive_retry,
        ("POST", "/history"): history,
        ("GET", "/reload"): plan,
        ("POST", "/reload"): reload,
        ("POST", "/check"): check,
    }


async def _check(daemon: Daemon, name: str) -> Audit:
    reader = daemon.reader(name)
    location = daemon.locations[name]
    # sensors read at their present rate since then; the last minutes of that are enough
    since = max(location.since_ms, daemon.clock.now() - _CHECKED_MS)
    times, values = location.simulator.expected(since)
    lane = location.lane
    try:
        async with asyncio.timeout(_CHECK_LIMIT_S):
            await lane.wait_applied(lane.handed - 1)
    except TimeoutError:
        raise ShardUnavailable(f"{name}: readings still wait in the spool; see `iotd status`") from None
    try:
        return await audit(reader, location.roster, times, values)
    finally:
        await reader.close()
