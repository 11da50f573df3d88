"""/livez and /readyz: whether to restart the daemon, and whether it takes readings."""

from __future__ import annotations

from dataclasses import dataclass

from iotd.config import Settings
from iotd.web.state import DaemonState


@dataclass(frozen=True, slots=True)
class Health:
    """Whether readings are taken.

    Attributes:
        ready: they are, each is in the log when its source goes on.
        reasons: why they are not.
        degraded: what is wrong without keeping readings away: the log takes them.
    """

    ready: bool
    reasons: list[str]
    degraded: list[str]


def health(state: DaemonState, settings: Settings) -> Health:
    """What the state means."""
    reasons = []
    if state.phase != "running":
        reasons.append(f"the daemon is {state.phase}")
    if state.log_failing is not None:
        reasons.append(f"the log can't be written: {state.log_failing}")
    degraded = []
    for shard in state.shards:
        if shard.full:
            reasons.append(f"{shard.location}: its log is at its limit (log.limit), sources wait")
        if shard.master is None:
            degraded.append(f"{shard.location}: no master; its readings wait in the log")
        elif shard.trouble is not None:
            degraded.append(f"{shard.location}: {shard.trouble.rstrip('.')}; its readings wait in the log")
        elif not shard.lag:
            degraded.append(f"{shard.location}: no replica is connected; the log keeps what is written meanwhile")
    if state.damage:
        places = f"{state.damage} place{'' if state.damage == 1 else 's'}"
        degraded.append(f"the log is damaged in {places}: the event log_damaged says what is lost")
    if state.archive.trouble is not None:
        degraded.append(f"archive: {state.archive.trouble}")
    if state.reload.refused is not None:
        degraded.append(f"the last reload was refused: {state.reload.refused}")
    return Health(not reasons, reasons, degraded)
