"""Texts, times and choices as Flux writes them, and texts in the predicate of a deletion."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

# nanoseconds since the epoch in 64 bits (InfluxDB's documentation, "Timestamp")
_EARLIEST, _LATEST = -9_223_372_036_000, 9_223_372_036_000


def flux_text(value: str) -> str:
    """A string literal."""
    # Flux would put a variable's value where it finds ${
    escaped = re.sub(r'[\\"]|\$(?=\{)', r"\\\g<0>", value)
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda sign: f"\\x{ord(sign[0]):02x}", escaped) + '"'


def predicate_text(value: str) -> str:
    """A name, or a tag's value, in the predicate of a deletion, which is no Flux; control characters can't be in it."""
    return '"' + re.sub(r'[\\"]', r"\\\g<0>", value) + '"'


def flux_time(ms: int) -> str:
    """A time literal; one that InfluxDB can't have becomes the nearest that it can."""
    moment = datetime.fromtimestamp(min(max(ms, _EARLIEST), _LATEST) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def flux_any(column: str, values: Iterable[str]) -> str:
    """The condition that a column of ``r`` has one of the values."""
    return f"({' or '.join(f'r.{column} == {flux_text(value)}' for value in values)})"
