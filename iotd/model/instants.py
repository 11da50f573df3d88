"""Times, ms since the epoch: in log lines, and the one after all others."""

from __future__ import annotations

from datetime import UTC, datetime

ENDLESS = 2**62
"""A time after all readings, ms."""


def iso(ms: int) -> str:
    """Milliseconds since the epoch as ISO 8601, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
