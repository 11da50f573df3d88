"""Numbers in sentences."""

from __future__ import annotations


def many(count: int, thing: str) -> str:
    """A count with its thing, whose plural has an s: ``1 reading``, ``12,345 readings``."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
