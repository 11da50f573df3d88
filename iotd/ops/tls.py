"""TLS contexts for connections to servers, made once for each state of the files that they are made of.

Making one takes tens of milliseconds where the system's certificates are loaded. In a failover a daemon connects many
times a second: made anew each time, and on the event loop, contexts kept it from ever connecting in time.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from functools import lru_cache
from pathlib import Path
from typing import Protocol

_File = tuple[str, int, int] | None
_turn = threading.Lock()  # those who need the same context at once wait for one, rather than make one each


class Files(Protocol):
    """A table of the configuration that names them."""

    @property
    def tls_ca_file(self) -> Path | None:
        """Is trusted instead of the system's certificates."""

    @property
    def tls_cert_file(self) -> Path | None:
        """Ours, where a server wants one."""

    @property
    def tls_key_file(self) -> Path | None:
        """Its key; None: it is in the same file."""


async def tls_context(files: Files) -> ssl.SSLContext:
    """The context for these files. Those that were exchanged are read again.

    Raises:
        OSError: a file can't be read (ssl.SSLError: or is no certificate or key).
    """
    return await asyncio.to_thread(_current, files)


def _current(files: Files) -> ssl.SSLContext:
    with _turn:
        return _made(*map(_state, (files.tls_ca_file, files.tls_cert_file, files.tls_key_file)))


def _state(path: Path | None) -> _File:
    if path is None:
        return None
    found = path.stat()
    return str(path), found.st_mtime_ns, found.st_ino


@lru_cache(maxsize=16)
def _made(ca: _File, certificate: _File, key: _File) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca[0] if ca else None)
    if certificate is not None:
        context.load_cert_chain(certificate[0], key[0] if key else None)
    return context
