"""Numbers and values in sentences."""

from __future__ import annotations


def many(count: int, thing: str) -> str:
    """A count with its thing, whose plural has an s: ``1 reading``, ``12,345 readings``."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def shown(value: object) -> str:
    """A value of a message, in at most 80 characters; of one with others in it only what it is: it may be very deep."""
    if isinstance(value, dict | list | tuple):
        return "an object" if isinstance(value, dict) else "a list"
    return f"{value!r:.80}"
