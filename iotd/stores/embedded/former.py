"""An archive of the form before, with a row a reading: put aside, waited for, taken over, or given up.

Both forms have the same name, so that the archive stays the one that the watermarks know. A file of the form before is
renamed before the new one is made, and renamed again when all of it is in the new one, which has its incarnation from
the beginning. While it waits, the archive is not whole, and is not read.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path

from iotd.model.errors import ArchiveUnavailable
from iotd.ops.database import reading_only
from iotd.ops.loggers import get_logger
from iotd.stores.embedded import takeover
from iotd.stores.embedded.takeover import TakenOver
from iotd.stores.embedded.writer import ArchiveWriter

log = get_logger(__name__)

_PENDING = "pending_takeover"
"""In the new file's ``meta`` until all of the old one is in it."""


def begin(writer: ArchiveWriter) -> None:
    """Puts a file of the form before aside, and makes the new one with its incarnation. Before anything is written.

    Raises:
        ArchiveUnavailable: not now; the old file is open elsewhere.
        ArchiveRefused: a file is damaged.
    """
    path = writer.database.path
    if _is_former(path):
        takeover.put_aside(path, _waiting(path))
        log.info("archive_put_aside", archive=str(path), kept=str(_waiting(path)))
    if waits(path):
        incarnation = takeover.incarnation(_waiting(path))
        writer.database.write(lambda db: _adopt(db, incarnation))
    elif writer.database.write(_given_up):
        log.error("archive_take_over_given_up", archive=str(path), effect="what the shards hold is archived again")


def waits(path: Path) -> bool:
    """Whether a file of the form before waits to be taken over."""
    return _waiting(path).exists()


def refuse_while_waiting(path: Path) -> None:
    """Refuses to read an archive that is not whole yet.

    Raises:
        ArchiveUnavailable: it is being taken over.
    """
    if waits(path):
        raise ArchiveUnavailable(
            f"{path}: the daemon is bringing {_waiting(path).name} into the present form; see its log, or `iotd up`"
        )


def refuse(path: Path) -> None:
    """Refuses to read a file of the form before.

    Raises:
        ArchiveUnavailable: it is one.
    """
    if _is_former(path):
        raise ArchiveUnavailable(f"{path}: it is of the form before; the daemon takes it over when it starts")


def take_over(writer: ArchiveWriter, progress: Callable[[int, int], None]) -> TakenOver:
    """Brings what waits into the new file; see :func:`iotd.stores.embedded.takeover.take_over`.

    Raises:
        ArchiveUnavailable, ArchiveRefused: as there.
    """
    return takeover.take_over(_waiting(writer.database.path), writer, progress, finish=_finish)


def _waiting(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def _is_former(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with reading_only(path, timeout=10) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        return False  # whoever opens it says why
    return "samples" in tables and "blocks" not in tables


def _adopt(db: sqlite3.Connection, incarnation: str) -> None:
    if db.execute("SELECT 1 FROM meta WHERE name = ?", (_PENDING,)).fetchone():
        return
    db.execute("INSERT INTO meta VALUES (?, ?)", (_PENDING, incarnation))
    if incarnation and not db.execute("SELECT 1 FROM series").fetchone():
        db.execute("UPDATE meta SET value = ? WHERE name = 'incarnation'", (incarnation,))


def _finish(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM meta WHERE name = ?", (_PENDING,))


def _given_up(db: sqlite3.Connection) -> bool:
    """Whether the old file went away before all of it was here; then the archive is another one for the watermarks."""
    if not db.execute("DELETE FROM meta WHERE name = ?", (_PENDING,)).rowcount:
        return False
    db.execute("UPDATE meta SET value = ? WHERE name = 'incarnation'", (uuid.uuid4().hex,))
    return True
