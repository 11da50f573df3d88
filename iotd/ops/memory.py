"""Memory: what is needed for ever is not looked at again, what was needed for a while is given back."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable

EVERY_S = 60.0


def keep_what_is_there() -> None:
    """Takes all that was made until now (modules, settings, servers) out of the garbage collector's sight.

    It lives as long as the process does, and looking through it for garbage held up the event loop for 31 ms each time
    (gc.freeze; ``gc.get_objects()`` were 81,000).
    """
    gc.collect()
    gc.freeze()


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
    """Gives freed memory back (after a week of history, a replay) once a minute; in a thread: it takes milliseconds."""
    if (trim := trimmer()) is None:
        return
    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(trim)
