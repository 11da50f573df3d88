"""The wrapper of a SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from iotd.model.errors import ArchiveRefused, ArchiveUnavailable
from iotd.ops.database import Database


def prepared(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE IF NOT EXISTS t (n)")


def database(path: Path, *, read_only: bool = False, timeout: float = 10) -> Database:
    return Database(
        path,
        unavailable=ArchiveUnavailable,
        damaged=ArchiveRefused,
        prepare=prepared,
        read_only=read_only,
        timeout=timeout,
    )


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = database(tmp_path / "sub" / "x.db")
    yield made
    made.close()


def add(db: sqlite3.Connection, n: object = 1) -> None:
    db.execute("INSERT INTO t VALUES (?)", (n,))


def rows(db: sqlite3.Connection) -> list[object]:
    return [row for (row,) in db.execute("SELECT n FROM t ORDER BY rowid")]


def test_what_was_written_is_read_also_after_closing(db: Database) -> None:
    db.write(add)
    db.close()
    assert db.read(rows) == [1]
    assert db.openings == 2


def test_an_error_undoes_the_transaction_and_is_the_works_own(db: Database) -> None:
    def work(connection: sqlite3.Connection) -> None:
        add(connection)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        db.write(work)
    assert db.read(rows) == []


def test_what_a_reading_writes_is_undone(db: Database) -> None:
    db.read(add)
    assert db.read(rows) == []


def test_a_file_that_was_moved_away_is_made_anew(db: Database) -> None:
    db.write(add)
    db.path.rename(db.path.with_name("away.db"))
    assert db.read(rows) == []
    assert db.openings == 2


def test_a_file_that_was_replaced_is_opened(db: Database, tmp_path: Path) -> None:
    other = database(tmp_path / "other.db")
    other.write(lambda connection: add(connection, 7))
    other.close()
    reader = database(db.path, read_only=True)
    db.write(add)
    assert reader.read(rows) == [1]
    db.close()
    for suffix in ("-wal", "-shm"):  # SQLite would apply them to the other file
        db.path.with_name(db.path.name + suffix).unlink()
    (tmp_path / "other.db").replace(db.path)
    assert reader.read(rows) == [7]
    reader.close()


def test_reading_only_makes_no_file_and_changes_none(db: Database) -> None:
    reader = database(db.path, read_only=True)
    with pytest.raises(ArchiveUnavailable, match="no such file"):
        reader.read(rows)
    assert not db.path.exists()
    db.write(add)
    with pytest.raises(ArchiveUnavailable, match="readonly"):
        reader.write(add)
    reader.close()


def test_a_locked_file_is_unavailable_and_later_is_not(db: Database) -> None:
    db.write(add)
    other = database(db.path, timeout=0)

    def work(connection: sqlite3.Connection) -> None:
        add(connection, 2)
        with pytest.raises(ArchiveUnavailable, match="locked"):
            other.write(add)

    db.write(work)
    other.write(lambda connection: add(connection, 3))
    assert db.read(rows) == [1, 2, 3]
    other.close()


def test_a_file_of_noise_is_damaged(db: Database) -> None:
    db.path.parent.mkdir()
    db.path.write_bytes(bytes(range(256)) * 64)
    with pytest.raises(ArchiveRefused, match="damaged"):
        db.read(rows)
    db.path.unlink()
    db.write(add)
    assert db.read(rows) == [1]


def test_text_that_is_no_utf8_is_read(db: Database) -> None:
    db.write(lambda connection: connection.execute("INSERT INTO t VALUES (CAST(x'61ff' AS TEXT))"))
    assert db.read(rows) == ["a�"]


async def test_coroutines_work_in_one_thread_that_is_not_the_loops(db: Database) -> None:
    async def thread() -> int:
        return await db.reading(lambda _: threading.get_ident())

    await db.writing(add)
    threads = await asyncio.gather(*(thread() for _ in range(5)))
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
    assert await db.run(lambda: db.read(rows)) == [1]


def test_many_threads_may_write(db: Database) -> None:
    threads = [threading.Thread(target=lambda: [db.write(add) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(db.read(rows)) == 20
