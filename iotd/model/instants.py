"""Times, ms since the epoch: in log lines, the zone that people here live by, and the one after all others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache

from iotd.model.errors import UsageError

ENDLESS = 2**62
"""A time after all readings, ms."""

NEVER = -ENDLESS
"""The newest time of a series that has no reading, ms."""


def milliseconds(length: timedelta) -> int:
    """A length of time in whole ms."""
    return round(length.total_seconds() * 1000)


def iso(ms: int) -> str:
    """Milliseconds since the epoch as ISO 8601, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def duration(ms: float) -> str:
    """A length of time for people, in its largest unit of which there are two at least: ``90 min``."""
    seconds = max(0.0, ms / 1000)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


@cache
def local_zone() -> tzinfo:
    """``$TZ``, else the system's zone.

    Raises:
        UsageError: it can't be had.
    """
    import tzlocal  # noqa: PLC0415  # only where a time is read or shown

    try:
        return tzlocal.get_localzone()
    except Exception as e:  # it raises what zoneinfo or the system's files make it raise
        raise UsageError(f"the local time zone can't be had ({e}); set TZ, for instance TZ=Europe/Paris") from None
