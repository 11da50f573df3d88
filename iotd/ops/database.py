"""A SQLite file: opened when it is needed, noticed when it is another one, its errors those of its user."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from iotd.ops.files import set_aside

T = TypeVar("T")

Work = Callable[[sqlite3.Connection], T]
"""What is done with a connection, within one transaction.

It fetches all rows of a query before it may raise: a half-read cursor that a traceback keeps alive would keep what the
next transactions see at this moment.
"""

_WAL_LIMIT = 16 << 20
"""Bytes: a longer write-ahead log is cut to this when it has been copied into the file."""


def reading_only(path: Path, timeout: float = 5) -> closing[sqlite3.Connection]:
    """A connection that changes nothing, to a file that somebody else may be writing; for a with statement. Blocking.

    Args:
        timeout: seconds to wait for whoever writes.

    Raises:
        sqlite3.Error: it can't be opened.
    """
    return closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=timeout))


class Database:
    """One connection to a SQLite file (WAL, ``synchronous=FULL``).

    Callable from any thread, one at a time. The coroutines :meth:`reading` and :meth:`writing` do the work in a thread
    of this database's own, so that the event loop goes on.

    Text that is not UTF-8 is read with replacement characters instead of an error: whoever stores text that matters
    keeps a checksum beside it.

    Attributes:
        path: the file.
        openings: how often a file was opened; what one remembers of a file ends when this number changes.
    """

    def __init__(
        self,
        path: Path,
        *,
        unavailable: Callable[[str], Exception],
        damaged: Callable[[str], Exception],
        prepare: Callable[[sqlite3.Connection], None] | None = None,
        read_only: bool = False,
        timeout: float = 10,
    ) -> None:
        """Opens nothing yet.

        Args:
            unavailable: makes the error of a file that can't be used now: missing, locked, no rights, disk full.
            damaged: makes the error of a file whose content SQLite can't make sense of.
            prepare: makes the tables, in a transaction, whenever the file is opened to write.
            read_only: never makes or changes the file.
            timeout: seconds to wait for another process's lock.
        """
        self.path = path
        self.openings = 0
        self._unavailable = unavailable
        self._damaged = damaged
        self._prepare = prepare
        self._read_only = read_only
        self._timeout = timeout
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._damage: tuple[int, int] | None = None
        self._lock = threading.RLock()
        self._thread: ThreadPoolExecutor | None = None

    def read(self, work: Work[T]) -> T:
        """Does the work in one transaction: all of it sees the file as it was at the first statement.

        Raises:
            the errors of ``unavailable`` and ``damaged``, and what the work itself raises.
        """
        return self._do(work, "BEGIN", "ROLLBACK")

    def write(self, work: Work[T]) -> T:
        """Does the work in one transaction, which is on the disk on return. An error undoes all of it.

        Raises:
            the errors of ``unavailable`` and ``damaged``, and what the work itself raises.
        """
        return self._do(work, "BEGIN IMMEDIATE", "COMMIT")

    async def reading(self, work: Work[T]) -> T:
        """:meth:`read`, in this database's thread."""
        return await self.run(lambda: self.read(work))

    async def writing(self, work: Work[T]) -> T:
        """:meth:`write`, in this database's thread."""
        return await self.run(lambda: self.write(work))

    async def run(self, call: Callable[[], T]) -> T:
        """Does a call in this database's thread, for instance one that takes several transactions."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-{self.path.stem}")
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def set_aside(self) -> Path:
        """Moves a damaged file out of the way, so that the next use makes a new one; where it is then. Blocking.

        Raises:
            the error of ``unavailable``: it can't be moved.
        """
        with self._lock:
            self._close()
            return set_aside(self.path, self._unavailable)

    def close(self) -> None:
        """Waits for what is going on, then lets go of file and thread. The next use opens them again."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown()
        with self._lock:
            self._close()

    def _do(self, work: Work[T], begin: str, end: str) -> T:
        with self._lock:
            try:
                db = self._connected()
                db.execute(begin)
                try:
                    result = work(db)
                    db.execute(end)
                except BaseException:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
                return result
            except (sqlite3.OperationalError, OSError) as e:
                raise self._unavailable(f"{self.path}: {e}") from None
            except sqlite3.DatabaseError as e:
                self._damage = self._file
                self._close()  # what it keeps in memory may be as damaged
                raise self._damaged(f"{self.path}: the file is damaged ({e})") from None

    def _connected(self) -> sqlite3.Connection:
        if self._db is not None and self._file != self._found():
            self._close()  # moved away or replaced: what is written there now, nobody would find
        if self._db is None:
            self._db = self._open()
            self._file = self._found()
            self.openings += 1
        return self._db

    @property
    def replaced(self) -> bool:
        """Whether the file that was found damaged is no longer the one that is there."""
        return self._damage is not None and self._damage != self._found()

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _open(self) -> sqlite3.Connection:
        if self._read_only:
            if self._found() is None:
                raise FileNotFoundError("there is no such file")
            address, uri = f"{self.path.absolute().as_uri()}?mode=ro", True
        else:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            address, uri = str(self.path), False
        db = sqlite3.connect(address, uri=uri, isolation_level=None, check_same_thread=False, timeout=self._timeout)
        try:
            db.text_factory = lambda raw: raw.decode(errors="replace")
            if not self._read_only:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=FULL")
                db.execute(f"PRAGMA journal_size_limit={_WAL_LIMIT}")
                if self._prepare is not None:
                    db.execute("BEGIN IMMEDIATE")
                    self._prepare(db)
                    db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()
