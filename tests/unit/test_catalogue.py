"""The catalogue: a number for each series that was ever seen, the same for ever, and no file that can't be lost."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from iotd.intake.catalogue import Catalogue
from iotd.model.errors import StateError
from iotd.model.instants import NEVER
from iotd.model.series import Series
from tests.servers.disk import locked

NORTH = Series("temperature", "salon", "north", "celsius")
SOUTH = Series("temperature", "salon", "south: 2 %", "celsius")
RADON = Series("radon", "cave", "1", "bq_per_m3")


async def test_a_series_is_registered_once_and_durably(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "catalogue.sqlite")
    assert (await catalogue.register([NORTH, RADON, NORTH], "mqtt")).tolist() == [0, 1, 0]
    assert (await catalogue.register([SOUTH, NORTH], "http")).tolist() == [2, 0]
    # no close: what was registered is on disk
    again = Catalogue(tmp_path / "catalogue.sqlite")
    assert [again.series(n) for n in range(len(again))] == [NORTH, RADON, SOUTH]
    assert again.series(1).unit == "bq_per_m3"
    assert again.of_location("salon") == [0, 2]
    assert again.keys == [s.key.encode() for s in (NORTH, RADON, SOUTH)]
    assert again.number_of(Series("radon", "cave", "2")) is None
    await again.register([Series("humidity", "salon", "north")], "http")
    assert [again.sensors(name) for name in ("salon", "cave", "attic")] == [2, 1, 0]


async def test_many_who_see_the_same_series_first_get_the_same_number(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "catalogue.sqlite")
    series = [Series("co2", "salon", str(n)) for n in range(50)]
    found = await asyncio.gather(*(catalogue.register(series[n % 7 :], "x") for n in range(20)))
    assert len(catalogue) == 50
    for n, numbers in enumerate(found):
        assert [catalogue.series(int(i)) for i in numbers] == series[n % 7 :]


async def test_the_newest_times_are_kept(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "catalogue.sqlite")
    numbers = await catalogue.register([NORTH, SOUTH], "x")
    catalogue.note(numbers[[0, 0, 0]], np.array([5, 9, 7], np.int64), np.array([0.5, 0.9, 0.7]))
    catalogue.note_one(0, 8, 0.8)
    await catalogue.save()
    catalogue.close()
    again = Catalogue(tmp_path / "catalogue.sqlite")
    assert again.newest[:2].tolist() == [9, NEVER]
    assert [again.latest(n) for n in (0, 1)] == [0.9, None]
    assert (again.made(0).source, again.made_by("x"), again.made_by("y")) == ("x", 2, 0)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 99)), max_size=30), st.integers(1, 7))
def test_the_value_of_the_newest_time_is_known_the_later_of_two(said: list[tuple[int, int, int]], size: int) -> None:
    with TemporaryDirectory() as folder:
        catalogue = Catalogue(Path(folder) / "catalogue.sqlite")
        wanted: dict[int, tuple[int, int]] = {}
        for at in range(0, len(said), size):
            series, times, values = zip(*said[at : at + size], strict=True)
            catalogue.note(np.array(series, np.int32), np.array(times, np.int64), np.array(values, np.float64))
        for number, time, value in said:
            if number not in wanted or time >= wanted[number][0]:
                wanted[number] = time, value
        assert {n: (int(catalogue.newest[n]), catalogue.latest(n)) for n in wanted} == wanted
        catalogue.close()


async def test_a_file_of_version_0_2_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    catalogue = Catalogue(path)
    await catalogue.register([NORTH], "x")
    catalogue.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE series DROP COLUMN latest")
    again = Catalogue(path)
    assert again.latest(0) is None
    await again.register([SOUTH], "x")
    again.note_one(1, 5, 1.5)
    await again.save()
    assert Catalogue(path).latest(1) == 1.5


async def test_it_grows_as_sensors_come(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "catalogue.sqlite")
    numbers = await catalogue.register([Series("co2", "salon", str(n)) for n in range(1_000)], "x")
    catalogue.note(numbers, np.arange(1_000, dtype=np.int64), np.arange(1_000) / 7)
    assert catalogue.newest[:1_000].tolist() == list(range(1_000))


async def test_what_the_log_describes_is_found_again_in_another_catalogue(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "a.sqlite")
    await catalogue.register([NORTH, SOUTH, RADON], "x")
    described = [catalogue.describe(n) for n in range(3)]
    other = Catalogue(tmp_path / "b.sqlite")
    await other.register([RADON], "y")
    assert [other.number(d) for d in described] == [1, 2, 0]
    assert Catalogue(tmp_path / "b.sqlite").number(described[1]) == 2
    with pytest.raises(ValueError, match="not a description"):
        other.number(b'["a", 1]')


async def test_a_damaged_file_is_moved_aside_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64)
    with capture_logs() as logs:
        catalogue = Catalogue(path)
    assert [entry["event"] for entry in logs] == ["catalogue_damaged"]
    assert (await catalogue.register([NORTH], "x")).tolist() == [0]
    assert len(list(tmp_path.glob("catalogue.sqlite.damaged-*"))) == 1


async def test_a_series_is_known_only_when_it_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    catalogue = Catalogue(path)
    catalogue._db.execute("PRAGMA busy_timeout=50")
    with locked(path):
        with pytest.raises(StateError, match="can't be written"):
            await catalogue.register([NORTH], "x")
        assert catalogue.number_of(NORTH) is None
    assert (await catalogue.register([NORTH], "x")).tolist() == [0]


@asynccontextmanager
async def cancelled_while_writing(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Catalogue]:
    """Whoever registers NORTH is cancelled while that is written, as a source is that is stopped; the writing goes on
    at the end of this."""
    catalogue = Catalogue(path)
    writing, insert = threading.Event(), catalogue._insert

    def told(*args: object) -> None:
        writing.set()
        insert(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(catalogue, "_insert", told)
    with locked(path):
        registering = asyncio.create_task(catalogue.register([NORTH], "x"))
        assert await asyncio.to_thread(writing.wait, 10)
        registering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await registering
        yield catalogue


async def test_who_registers_may_be_cancelled_and_the_next_one_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalogue.sqlite"
    async with cancelled_while_writing(path, monkeypatch) as catalogue:
        another = asyncio.create_task(catalogue.register([SOUTH], "x"))
    assert (await another).tolist() == [1]
    assert (await catalogue.register([NORTH], "x")).tolist() == [0]
    again = Catalogue(path)
    assert [again.number_of(one) for one in (NORTH, SOUTH)] == [0, 1]


async def test_it_is_closed_only_when_what_is_under_way_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalogue.sqlite"
    async with cancelled_while_writing(path, monkeypatch) as catalogue:
        closed = asyncio.create_task(asyncio.to_thread(catalogue.close))
        done, _ = await asyncio.wait([closed], timeout=0.3)
        assert not done
    await closed
    assert Catalogue(path).number_of(NORTH) == 0
