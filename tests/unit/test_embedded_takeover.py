"""Taking over an archive of the form before."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iotd.model.buckets import HOUR
from iotd.model.errors import ArchiveRefused, ArchiveUnavailable
from iotd.model.series import Series
from iotd.stores.embedded import takeover
from iotd.stores.embedded.reader import ArchiveReader
from iotd.stores.embedded.tables import FILE
from iotd.stores.embedded.takeover import take_over
from iotd.stores.embedded.writer import ArchiveWriter

OLD_FILE = f"{FILE}.old"
T0 = 1_790_000_000_000 // HOUR * HOUR
DAY = 24 * HOUR
OLD_SCHEMA = """
CREATE TABLE series (
    id INTEGER PRIMARY KEY, type TEXT NOT NULL, location TEXT NOT NULL, sensor_id INTEGER NOT NULL, unit TEXT NOT NULL,
    UNIQUE (type, location, sensor_id)
);
CREATE TABLE samples (series INTEGER NOT NULL REFERENCES series, time INTEGER NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (series, time)) WITHOUT ROWID;
CREATE TABLE incarnation (id TEXT NOT NULL);
INSERT INTO incarnation VALUES ('of old');
INSERT INTO series VALUES (1, 'temperature', 'salon', 1, 'celsius'), (2, 'humidity', 'salon', 12, 'percent'),
    (3, 'air_quality', 'cuisine', 1, 'aqi');
"""
SERIES = {1: Series("temperature", "salon", "1"), 2: Series("humidity", "salon", "12")}
ROWS = {
    1: {T0 + n * 10 * 60_000: n / 7 for n in range(1000)} | {T0 + 400 * DAY: -1.0},
    2: {T0 - 40 * DAY: 5.0, T0: 6.5},
}


class World:
    def __init__(self, folder: Path) -> None:
        self.old = folder / OLD_FILE
        self.db = sqlite3.connect(self.old, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.executescript(OLD_SCHEMA)
        self.db.execute("BEGIN")
        for series, rows in ROWS.items():
            self.db.executemany("INSERT INTO samples VALUES (?, ?, ?)", [(series, *row) for row in rows.items()])
        self.db.execute("COMMIT")
        self.new = ArchiveWriter(folder / FILE)
        self.reader = ArchiveReader(folder / FILE)
        self.progress: list[tuple[int, int]] = []

    def note(self, done: int, total: int) -> None:
        self.progress.append((done, total))

    def read(self, series: Series) -> dict[int, float]:
        times, values = self.reader.samples(series, -(2**52), 2**52)
        return dict(zip(times.tolist(), values.tolist(), strict=True))

    def close(self) -> None:
        self.db.close()
        self.reader.close()
        self.new.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def test_all_readings_are_taken_over_and_the_old_file_is_kept(world: World) -> None:
    world.db.close()
    done = take_over(world.old, world.new, world.note)
    assert (done.readings, done.skipped, done.incarnation) == (1003, 0, "of old")
    assert {number: world.read(series) for number, series in SERIES.items()} == ROWS
    assert {series.unit for series in world.reader.series()} == {"celsius", "percent"}
    assert world.progress[0] == (0, 1003)
    assert world.progress[-1] == (1003, 1003)
    assert world.progress == sorted(world.progress)
    assert sorted(os.listdir(world.old.parent)) == [FILE, f"{FILE}-shm", f"{FILE}-wal", done.kept.name]
    assert done.kept.name == f"{OLD_FILE}.taken-over"
    kept = sqlite3.connect(done.kept)
    assert kept.execute("SELECT count(*) FROM samples").fetchone() == (1003,)
    kept.close()
    assert not list(world.reader.check())


def test_what_is_still_in_the_wal_of_a_killed_daemon_is_taken_over(world: World) -> None:
    assert world.old.with_name(f"{OLD_FILE}-wal").stat().st_size
    copy = world.old.with_name("copy.sqlite")
    for suffix in ("", "-wal"):
        copy.with_name(copy.name + suffix).write_bytes(world.old.with_name(world.old.name + suffix).read_bytes())
    done = take_over(copy, world.new, world.note)
    assert done.readings == 1003
    kept = sqlite3.connect(done.kept)
    assert kept.execute("SELECT count(*) FROM samples").fetchone() == (1003,)
    kept.close()


def test_a_value_that_is_there_already_stands(world: World) -> None:
    world.db.close()
    world.new.write([(SERIES[2], np.array([T0, T0 + 1]), np.array([100.0, 101.0]))])
    take_over(world.old, world.new, world.note)
    assert world.read(SERIES[2]) == {T0 - 40 * DAY: 5.0, T0: 100.0, T0 + 1: 101.0}


class Killed(BaseException):
    pass


def killed_after(calls: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """The same, killed at the end of one of its calls."""
    left = itertools.count(calls - 1, -1)

    def call(*args: Any, **how: Any) -> Any:
        result = real(*args, **how)
        if next(left) <= 0:
            raise Killed
        return result

    return call


@pytest.mark.parametrize("where", ["progress", "write", "_note", "_verify"])
def test_killed_again_and_again_it_goes_on(world: World, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.db.close()
    kills = 0
    while True:
        try:
            with monkeypatch.context() as patch:
                progress = world.note
                if where == "progress":
                    progress = killed_after(3, world.note)
                elif where == "write":
                    patch.setattr(world.new, "write", killed_after(3, world.new.write))
                else:
                    patch.setattr(takeover, where, killed_after(3, getattr(takeover, where)))
                done = takeover.take_over(world.old, world.new, progress)
            break
        except Killed:
            kills += 1
            assert kills < 20
            assert world.old.exists()
    assert kills > 2
    assert (done.readings, done.skipped) == (1003, 0)
    assert {number: world.read(series) for number, series in SERIES.items()} == ROWS
    assert world.progress == sorted(world.progress)
    assert not world.old.exists()


def test_killed_before_the_renaming_it_is_renamed_next_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.db.close()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed_after(1, lambda *_: None))
        with pytest.raises(Killed):
            take_over(world.old, world.new, world.note)
    world.progress.clear()
    assert take_over(world.old, world.new, world.note).readings == 1003
    assert world.progress == [(1003, 1003)]
    assert not world.old.exists()


def test_killed_after_the_renaming_another_file_begins_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.db.close()
    raw = world.old.read_bytes()
    take_over(world.old, world.new, world.note)
    world.old.write_bytes(raw)  # it was put back by hand
    done = take_over(world.old, world.new, world.note)
    assert done.readings == 1003
    assert done.kept.name == f"{OLD_FILE}.taken-over-2"


def test_rows_that_are_no_readings_are_counted(world: World) -> None:
    world.db.execute(
        "INSERT INTO samples VALUES (2, ?, 'x'), (2, ?, 9e999), (9, 5, 1.0), (1, 'late', 1.0)", (T0 + 5, T0 + 6)
    )
    world.db.close()
    done = take_over(world.old, world.new, world.note)
    assert (done.readings, done.skipped) == (1003, 4)
    assert world.read(SERIES[2]) == ROWS[2]


def test_a_damaged_old_file_stays_and_is_named(world: World) -> None:
    world.db.close()
    raw = bytearray(world.old.read_bytes())
    raw[len(raw) - 3000 :] = bytes(3000)
    world.old.write_bytes(raw)
    with pytest.raises(ArchiveRefused, match=r"archive\.sqlite"):
        take_over(world.old, world.new, world.note)
    assert world.old.exists()


def test_an_old_file_that_is_missing_is_unavailable(world: World) -> None:
    with pytest.raises(ArchiveUnavailable, match="no such file"):
        take_over(world.old.with_name("none.sqlite"), world.new, world.note)


def test_an_old_file_that_was_never_finished_is_put_aside(world: World) -> None:
    empty = world.old.with_name("empty.sqlite")
    empty.touch()
    assert take_over(empty, world.new, world.note).readings == 0
    assert not empty.exists()
