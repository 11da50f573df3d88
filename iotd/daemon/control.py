"""What the control socket does: the daemon as the command line sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from iotd.config.diff import Change
from iotd.daemon.adopt import Holding, adopt, holdings
from iotd.daemon.checks import Checks
from iotd.daemon.delete import Progress, Recorded, delete, progress
from iotd.daemon.reload import Reloader
from iotd.daemon.rename import rename
from iotd.daemon.runtime import Runtime
from iotd.daemon.sensors import of_sensors
from iotd.health.clock import ClockState
from iotd.health.state import DaemonState
from iotd.model.errors import ArchiveError
from iotd.model.selection import Selection
from iotd.ops.control import Handler, asking_user
from iotd.shards.audit import Audit

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

    async def archive_lacking(params: Mapping[str, str]) -> dict[str, int] | None:
        try:
            return await runtime.archiving.archiver.lacking()
        except ArchiveError:
            return None

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

    async def found(params: Mapping[str, str]) -> list[Holding]:
        return await holdings(runtime)

    async def adopted(params: Mapping[str, str]) -> list[Holding]:
        return await adopt(runtime)

    async def renamed(params: Mapping[str, str]) -> None:
        await rename(runtime, reloader, params.get("old", ""), params.get("new", ""))

    async def acknowledge(params: Mapping[str, str]) -> int:
        name, location = params.get("name", ""), params.get("location")
        count = runtime.conditions.acknowledge(name, location)
        if name == "held_let_go":
            await runtime.held.acknowledge()
            runtime.holdings = await runtime.held.holdings()
        if name == "archive_lost":
            await runtime.archiving.archiver.forget_vanished(location)
        await asyncio.to_thread(runtime.conditions.save)
        return count

    async def clock(params: Mapping[str, str]) -> ClockState:
        return runtime.clock.state

    async def accept_clock(params: Mapping[str, str]) -> ClockState:
        return runtime.clock.accept()

    async def deleted(params: Mapping[str, str]) -> Recorded:
        ids = (params["sensor"],) if "sensor" in params else None
        what = Selection((params["location"],), tuple(params["types"].split(",")), ids)
        readings = int(params["readings"]) if "readings" in params else None
        first, last = int(params["first"]), int(params["last"])
        return await delete(runtime, what, first, last, readings=readings, uid=asking_user())

    async def deleting(params: Mapping[str, str]) -> Progress:
        return progress(runtime, params.get("location", ""), int(params.get("sequence", 0)))

    return {
        ("GET", "/status"): status,
        ("POST", "/acknowledge"): acknowledge,
        ("GET", "/clock"): clock,
        ("POST", "/clock"): accept_clock,
        ("GET", "/delete"): deleting,
        ("POST", "/delete"): deleted,
        ("POST", "/rename"): renamed,
        ("GET", "/adopt"): found,
        ("POST", "/adopt"): adopted,
        ("POST", "/archive/now"): archive_now,
        ("POST", "/archive/verify"): archive_verify,
        ("GET", "/archive/lacking"): archive_lacking,
        ("POST", "/archive/retry-rejected"): archive_retry,
        ("POST", "/history"): history,
        ("GET", "/reload"): plan,
        ("POST", "/reload"): take_over,
        ("POST", "/check/begin"): begin_check,
        ("POST", "/check"): check,
        **of_sensors(runtime),
    }
