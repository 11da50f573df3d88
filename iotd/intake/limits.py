"""What the intake's limits are under some settings."""

from __future__ import annotations

from iotd.config import Tree
from iotd.intake.guards import Limits


def limits_of(settings: Tree) -> Limits:
    """The limits that the settings describe.

    Without an archive, what is older than the shards keep can go nowhere, so it is held.
    """
    retention = round(settings.redis.retention.total_seconds() * 1000)
    return Limits(
        future=round(settings.intake.future.total_seconds() * 1000),
        past=retention if settings.archive.store == "none" else None,
    )
