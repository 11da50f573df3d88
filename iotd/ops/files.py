"""Writing a file whole: after a crash or a power cut it has its old content or its new one, never half of it. And one
that is damaged all the same, moved out of the way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from iotd.ops.systemerrors import said


def write_atomically(path: Path, content: bytes | str, mode: int = 0o644) -> None:
    """Replaces a file; when this returns, the new content is on disk. Blocks meanwhile.

    The content goes into ``NAME.PID.new`` beside it, which is then renamed. So processes may write the same file at the
    same time, threads of one may not. A file that was somebody else's, and is replaced by root, stays theirs.

    Args:
        content: text is written as UTF-8.
        mode: permissions of the new file, less the umask.

    Raises:
        OSError: it can't be written; the file is as it was (only when syncing its folder fails, it may be the new one).
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)  # what a crash left; and O_EXCL below follows no link
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
            f.flush()
            os.fsync(f.fileno())
        with suppress(FileNotFoundError, PermissionError):
            before = path.stat()
            os.chown(fresh, before.st_uid, before.st_gid)
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # or a power cut may undo the rename
    finally:
        os.close(folder)


def write_secret(path: Path, secret: str) -> None:
    """Writes a secret, as a line, into a file that only its owner may read; see :func:`write_atomically`.

    Raises:
        OSError: it can't be written.
    """
    write_atomically(path, secret if secret.endswith("\n") else f"{secret}\n", 0o600)


def set_aside(path: Path, unavailable: Callable[[str], Exception]) -> Path:
    """Moves a damaged file that nobody has open out of the way, without what SQLite keeps beside it; where it is then.

    Raises:
        the error of ``unavailable``: it can't be moved.
    """
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns() // 1_000_000}")
    try:
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.replace(aside)
    except OSError as e:
        raise unavailable(f"{path}: the file is damaged, and can't be moved aside ({said(e)})") from None
    return aside
