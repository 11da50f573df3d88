"""Files that hold a secret: only their owner may read them, and they are whole or not there at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_secret(path: Path, secret: str) -> None:
    """Writes a secret that only we may read; a file that was somebody else's, and is replaced by root, stays theirs.

    Raises:
        OSError: it can't be written; the file is as it was.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
        f.write(secret if secret.endswith("\n") else f"{secret}\n")
        f.flush()
        os.fsync(f.fileno())
    with contextlib.suppress(FileNotFoundError, PermissionError):
        before = path.stat()
        os.chown(fresh, before.st_uid, before.st_gid)
    fresh.replace(path)
