"""The embedded archive: its file, damaged, shared or absent; the contract is tests/contract/test_stores.py."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from iotd.model.buckets import HOUR
from iotd.model.errors import ArchiveMissing, ArchiveRefused, ArchiveUnavailable
from iotd.model.series import Series
from iotd.query.system import ShardingSystem
from iotd.stores.base import samples_of
from iotd.stores.embedded.store import EmbeddedStore
from iotd.stores.points import Points
from tests.conftest import FreshSystem
from tests.servers.daemon import running_daemon

SALON = Series("temperature", "salon", "1")
T0 = 1_790_000_000_000 // HOUR * HOUR


async def test_one_that_is_opened_to_read_makes_no_file_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "archive.sqlite"
    reader, writer = EmbeddedStore(path, read_only=True), EmbeddedStore(path)
    with pytest.raises(ArchiveMissing, match="no archive at"):
        await samples_of(reader, SALON, T0, T0)
    assert not path.exists()
    await writer.write([Points.of(SALON, [(T0, b"21.5")])])
    assert (await samples_of(reader, SALON, T0, T0))[1].tolist() == [21.5]
    assert await reader.incarnation() == await writer.incarnation()
    with pytest.raises(ArchiveUnavailable, match="read only"):
        await reader.write([])
    await reader.close()
    await writer.close()


async def test_a_damaged_embedded_archive_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "archive.sqlite"
    path.write_bytes(b"this is no database, and long enough to be looked at as one" * 100)
    store = EmbeddedStore(path)
    with pytest.raises(ArchiveRefused, match="move it away"):
        await store.write([Points.of(SALON, [(T0, b"1")])])
    await store.close()


_READER = """
import sqlite3, sys
seen = 0
while seen < int(sys.argv[2]):
    db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
    for _ in range(20):
        headers = db.execute("SELECT header FROM blocks").fetchall()  # each begins with its count
        count = sum(int.from_bytes(header[:8], "little") for (header,) in headers)
        assert count % 100 == 0, count  # whole writes only
        assert count >= seen, (count, seen)
        seen = count
    db.close()
"""


async def test_two_others_read_the_embedded_archive_while_it_is_written_and_see_whole_writes(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "archive.sqlite")
    batches = 200
    await store.write([])
    readers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", _READER, str(store.path), str(100 * batches))
        for _ in range(2)
    ]
    for n in range(batches):
        first = T0 + n * 100_000
        await store.write([Points.of(SALON, [(first + 1000 * i, b"21.5") for i in range(100)])])
        if n % 20 == 0:  # and so does iotd itself
            assert (await store.counts("salon", T0, first + 100_000, 2 * HOUR))[SALON]
    async with asyncio.timeout(60):
        assert [await reader.wait() for reader in readers] == [0, 0]
    await store.close()


OLD = """
CREATE TABLE series (
    id INTEGER PRIMARY KEY, type TEXT NOT NULL, location TEXT NOT NULL, sensor_id INTEGER NOT NULL, unit TEXT NOT NULL,
    UNIQUE (type, location, sensor_id)
);
CREATE TABLE samples (
    series INTEGER NOT NULL REFERENCES series, time INTEGER NOT NULL, value REAL NOT NULL, PRIMARY KEY (series, time)
) WITHOUT ROWID;
CREATE TABLE incarnation (id TEXT NOT NULL);
INSERT INTO incarnation VALUES ('the one that the watermarks know');
INSERT INTO series VALUES (1, 'temperature', 'salon', 1, 'celsius'), (2, 'temperature', 'salon', 2, 'celsius');
"""
DAY = 24 * HOUR


def old_archive(path: Path, days: int) -> dict[int, float]:
    """An archive as iotd made it before blocks; a reading a minute, which it returns."""
    rows = {T0 - 60_000 * n: n / 7 for n in range(1440 * days)}
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(OLD)
        db.execute("BEGIN")
        for series in (1, 2):
            db.executemany("INSERT INTO samples VALUES (?, ?, ?)", [(series, *row) for row in rows.items()])
        db.execute("COMMIT")
    return rows


async def everything(store: EmbeddedStore, series: Series = SALON) -> dict[int, float]:
    times, values = await samples_of(store, series, T0 - 1000 * DAY, T0 + DAY)
    return dict(zip(times.tolist(), values.tolist(), strict=True))


async def test_one_of_the_form_before_is_taken_over_by_the_daemon_while_it_archives_and_is_not_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "archive.sqlite"
    rows = old_archive(path, days=20)
    reader, daemons = EmbeddedStore(path, read_only=True), EmbeddedStore(path)
    with pytest.raises(ArchiveUnavailable, match="takes it over when it starts"):
        await everything(reader)
    # a pass that comes first: what it writes stands, and the watermarks find the archive that they know
    assert await daemons.incarnation() == "the one that the watermarks know"
    await daemons.write([Points.of(SALON, [(T0, b"99"), (T0 + 1, b"100")])])
    for store in (reader, daemons):
        with pytest.raises(ArchiveUnavailable, match="into the present form"):
            await everything(store)
    told: list[tuple[int, int]] = []
    await daemons.take_over(lambda done, total: told.append((done, total)))
    await asyncio.sleep(0)  # what was told last
    assert told[0] == (0, 2 * len(rows))
    assert told[-1] == (2 * len(rows), 2 * len(rows))
    for store in (reader, daemons):
        assert await everything(store) == {**rows, T0: 99.0, T0 + 1: 100.0}
        assert await everything(store, Series("temperature", "salon", "2")) == rows
        assert await store.incarnation() == "the one that the watermarks know"
        await store.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["archive.sqlite", "archive.sqlite.old.taken-over"]


async def test_a_take_over_that_is_stopped_goes_on_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "archive.sqlite"
    rows = old_archive(path, days=40)
    first = EmbeddedStore(path)
    some = asyncio.Event()
    task = asyncio.ensure_future(first.take_over(lambda done, total: some.set() if done else None))
    await some.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await first.close()
    second = EmbeddedStore(path)
    told: list[int] = []
    await second.take_over(lambda done, total: told.append(done))
    assert told[0] > 0
    assert await everything(second) == rows
    await second.take_over(lambda done, total: told.append(-1))  # does nothing
    assert -1 not in told
    await second.close()


async def test_an_old_archive_that_is_moved_away_before_it_is_taken_over_makes_the_new_one_another(
    tmp_path: Path,
) -> None:
    path = tmp_path / "archive.sqlite"
    old_archive(path, days=1)
    store = EmbeddedStore(path)
    assert await store.incarnation() == "the one that the watermarks know"
    await store.close()
    (tmp_path / "archive.sqlite.old").rename(tmp_path / "away")
    store = EmbeddedStore(path)
    found = await store.incarnation()
    assert found != "the one that the watermarks know"
    assert await store.incarnation() == found
    assert await everything(store) == {}
    await store.close()


async def test_a_damaged_block_is_an_error_for_a_query_and_a_gap_for_the_daemon_until_it_is_archived_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "archive.sqlite"
    store, reader = EmbeddedStore(path), EmbeddedStore(path, read_only=True)
    batch = [Points.of(SALON, [(T0 + 1000 * i, b"%d" % i) for i in range(7200)])]
    await store.write(batch)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(
            "UPDATE columns SET vals = CAST(substr(vals, 1, 9) || x'5a' || substr(vals, 11) AS BLOB) "
            "WHERE id = (SELECT min(id) FROM columns)"
        )
    with pytest.raises(ArchiveRefused, match="damaged"):
        await everything(reader)
    assert len(await everything(store)) == 3600
    await store.write(batch)
    assert len(await everything(store)) == len(await everything(reader)) == 7200
    await store.close()
    await reader.close()


async def test_the_daemon_takes_it_over_when_it_starts_and_queries_find_all_of_it(fresh_system: FreshSystem) -> None:
    system = fresh_system(archive={"store": "embedded:"})
    rows = old_archive(system.settings.state / "archive.sqlite", days=10)
    with running_daemon(system.settings) as daemon:
        await daemon.running()
        event = await daemon.logs("archive_taken_over")
        assert len(daemon.events("archive_taken_over")) == 1
        assert (event["readings"], event["skipped"]) == (2 * len(rows), 0)
        assert Path(event["kept"]).name == "archive.sqlite.old.taken-over"
        async with ShardingSystem.connect(system.config) as house:
            first, last = (T0 - 10 * DAY) / 1000, T0 / 1000 + 1
            found = await house.query_location_data("salon", "temperature", first, last, sensor_ids=1)
            assert found.complete
            assert dict(zip(found.times.tolist(), found.values.tolist(), strict=True)) == rows
        assert await daemon.stop() == 0
        assert not daemon.events("task_failed")
