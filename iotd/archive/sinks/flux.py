"""Texts and times as Flux writes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

# nanoseconds since the epoch in 64 bits (InfluxDB's documentation, "Timestamp")
_EARLIEST, _LATEST = -9_223_372_036_000, 9_223_372_036_000


def flux_text(value: str) -> str:
    """A string literal."""
    return json.dumps(value, ensure_ascii=False).replace("${", "\\${")  # Flux would put a variable's value there


def flux_time(ms: int) -> str:
    """A time literal; one that InfluxDB can't have becomes the nearest that it can."""
    moment = datetime.fromtimestamp(min(max(ms, _EARLIEST), _LATEST) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
