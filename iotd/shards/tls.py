"""TLS contexts for connections to Redis and Sentinel, made once for each state of the files that they are made of.

Making one takes tens of milliseconds where the system's certificates are loaded. In a failover a daemon connects many
times a second: made anew each time, and on the event loop, contexts kept it from ever connecting in time.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from functools import lru_cache
from pathlib import Path

from iotd.config.sections.servers import Credentials

_File = tuple[str, int, int] | None
_turn = threading.Lock()  # those who need the same context at once wait for one, rather than make one each


async def tls_context(credentials: Credentials) -> ssl.SSLContext:
    """The context for these credentials. Files that were exchanged are read again.

    ``tls_ca_file``, if set, is trusted instead of the system's certificates.

    Raises:
        OSError: a file can't be read (ssl.SSLError: or is no certificate or key).
    """
    return await asyncio.to_thread(_current, credentials)


def _current(credentials: Credentials) -> ssl.SSLContext:
    files = credentials.tls_ca_file, credentials.tls_cert_file, credentials.tls_key_file
    with _turn:
        return _made(*map(_state, files))


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
