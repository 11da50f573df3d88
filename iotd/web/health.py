"""/livez and /readyz: whether to restart the daemon, and whether it takes readings."""

from __future__ import annotations

from dataclasses import dataclass

from iotd.config import Settings
from iotd.web.state import DaemonState


@dataclass(frozen=True, slots=True)
class Health:
    """Whether readings are taken.

    Attributes:
        ready: they are, each is in the spool when its source goes on.
        reasons: why they are not.
        degraded: what is wrong without keeping readings away: the spool takes them.
    """

    ready: bool
    reasons: list[str]
    degraded: list[str]


def health(state: DaemonState, settings: Settings) -> Health:
    """What the state means."""
    reasons = []
    if state.phase != "running":
        reasons.append(f"the daemon is {state.phase}")
    if state.spool_failing is not None:
        reasons.append(f"the spool can't be written: {state.spool_failing}")
    degraded = []
    for shard in state.shards:
        if shard.depth.bytes >= settings.spool.limit:
            reasons.append(f"{shard.location}: its spool is at its limit (spool.limit), sensors wait")
        if shard.master is None:
            degraded.append(f"{shard.location}: no master; its readings wait in the spool")
        elif shard.trouble is not None:
            degraded.append(f"{shard.location}: {shard.trouble.rstrip('.')}; its readings wait in the spool")
        elif not shard.lag:
            degraded.append(f"{shard.location}: no replica is connected; the spool keeps what is written meanwhile")
    if state.archive.trouble is not None:
        degraded.append(f"archive: {state.archive.trouble}")
    if state.reload.refused is not None:
        degraded.append(f"the last reload was refused: {state.reload.refused}")
    return Health(not reasons, reasons, degraded)
