"""Free ports, in blocks that two test runs at once can't both take."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

BLOCK = 100
# below the range from which the kernel takes ports for outgoing connections, above all defaults
_FIRST, _LAST = 12_000, 32_000


@contextmanager
def port_block() -> Iterator[int]:
    """The first of :data:`BLOCK` free ports, ours until the end of the context, also against other test runs."""
    locks = Path(tempfile.gettempdir()) / "iotd-test-ports"
    locks.mkdir(exist_ok=True)
    for first in range(_FIRST, _LAST, BLOCK):
        lock = FileLock(locks / f"{first}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        try:
            if all(map(_free, range(first, first + BLOCK))):
                yield first
                return
        finally:
            lock.release()
    raise RuntimeError("no block of free ports is left")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
