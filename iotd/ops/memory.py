"""Memory that was needed for a while, and is given back: after a week of history, a replay, a long archive pass."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

EVERY_S = 60.0


def trimmer() -> Callable[[], None] | None:
    """What gives freed memory back to the system; None where the C library has no such call.

    glibc keeps freed pages for itself as long as anything lies above them (malloc_trim(3)): after seven days of history
    that were 20 of 116 MB.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return None
    return lambda: trim(0)


async def keep_trimmed() -> None:
    """Gives freed memory back once a minute, until cancelled; in a thread, since it takes milliseconds."""
    if (trim := trimmer()) is None:
        return
    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(trim)
