"""What the control socket does: the daemon as the command line sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from iotd.config.diff import Change
from iotd.daemon.checks import Checks
from iotd.daemon.reload import Reloader
from iotd.daemon.runtime import Runtime
from iotd.ops.control import Handler
from iotd.shards.audit import Audit
from iotd.web.state import DaemonState

_DURABLE_LIMIT_S = 10
"""While no replica is there nothing becomes durable: then what the master has is archived."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a reload has changed, or would."""

    changes: list[Change]


def handlers(
    runtime: Runtime, reloader: Reloader, reload: Callable[[], Awaitable[list[Change]]]
) -> Mapping[tuple[str, str], Handler]:
    """The handlers by method and path.

    Args:
        reload: asks the daemon to take the configuration over; what it changed.
    """
    checks = Checks(runtime)

    async def status(params: Mapping[str, str]) -> DaemonState:
        return runtime.state()

    async def archive_now(params: Mapping[str, str]) -> Any:
        await runtime.intake.settled()
        with suppress(TimeoutError):
            async with asyncio.timeout(_DURABLE_LIMIT_S):
                await asyncio.gather(*(location.durable() for location in runtime.locations.values()))
        return await runtime.archiving.archiver.cycle()

    async def archive_verify(params: Mapping[str, str]) -> Any:
        archiver = runtime.archiving.archiver
        return await archiver.verify(deep=params.get("deep") == "1", repair=params.get("repair") == "1")

    async def archive_retry(params: Mapping[str, str]) -> Any:
        return await runtime.archiving.archiver.retry_rejected()

    async def history(params: Mapping[str, str]) -> dict[str, int]:
        days = float(params.get("days", runtime.settings.simulator.history_days))
        simulators = runtime.sources.simulators
        done = await asyncio.gather(*(simulator.history(days) for simulator in simulators.values()))
        return dict(zip(simulators, done, strict=True))

    async def plan(params: Mapping[str, str]) -> Changes:
        _, differs = await asyncio.to_thread(reloader.plan)
        return Changes(differs.changes)

    async def take_over(params: Mapping[str, str]) -> Changes:
        return Changes(await reload())

    async def begin_check(params: Mapping[str, str]) -> None:
        checks.begin(params.get("location", ""))

    async def check(params: Mapping[str, str]) -> Audit:
        return await checks.end(params.get("location", ""))

    return {
        ("GET", "/status"): status,
        ("POST", "/archive/now"): archive_now,
        ("POST", "/archive/verify"): archive_verify,
        ("POST", "/archive/retry-rejected"): archive_retry,
        ("POST", "/history"): history,
        ("GET", "/reload"): plan,
        ("POST", "/reload"): take_over,
        ("POST", "/check/begin"): begin_check,
        ("POST", "/check"): check,
    }
