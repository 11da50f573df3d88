"""The store of what is held: durable, bounded per source, each thing once."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from iotd.intake.held import HeldStore
from iotd.model.errors import StateUnwritable
from iotd.model.held import Held


def thing(n: int, source: str = "http", size: int = 10, reason: str = "not a number") -> Held:
    return Held(source, "line", f"line {n}", b"x" * size, 1_800_000_000_000 + n, reason, "'warm'")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "held.db"


async def test_what_is_held_is_there_after_a_restart_in_its_order(path: Path) -> None:
    store = HeldStore(path, lambda: 1 << 20)
    await store.add([thing(1), thing(2, reason="unit")])
    await store.add([thing(3, "lab")])
    store.close()
    again = HeldStore(path, lambda: 1 << 20)
    assert [(one.source, one.topic) for one in await again.page()] == [
        ("http", "line 1"),
        ("http", "line 2"),
        ("lab", "line 3"),
    ]
    assert (await again.page("http", after=1, count=1))[0].topic == "line 2"
    found = await again.holdings()
    assert found["http"].count == 2
    assert found["http"].oldest == 1_800_000_000_001
    assert found["http"].reasons == {"not a number": 1, "unit": 1}
    again.close()


async def test_a_repeat_is_held_once_and_many_at_once_are_all_there(path: Path) -> None:
    store = HeldStore(path, lambda: 1 << 20)
    await asyncio.gather(*(store.add([thing(n), thing(0)]) for n in range(50)))
    assert len(await store.page(count=1_000)) == 50
    store.close()


async def test_the_bound_is_of_each_source_and_lets_the_oldest_go_counted(path: Path) -> None:
    store = HeldStore(path, lambda: 20_000)
    await store.add([thing(n, "lab") for n in range(3)])
    for n in range(100):
        await store.add([thing(n, size=500)])
    found = await store.holdings()
    assert found["lab"].count == 3
    assert found["lab"].let_go == 0
    http = found["http"]
    assert http.bytes <= 20_000
    assert http.count + http.let_go == 100
    assert [one.topic for one in await store.page("http")][-1] == "line 99"
    assert http.let_go_upto == 1_800_000_000_000 + http.let_go - 1
    store.close()
    again = HeldStore(path, lambda: 20_000)
    assert (await again.holdings()) == found
    again.close()


async def test_what_was_taken_is_removed_and_makes_room(path: Path) -> None:
    store = HeldStore(path, lambda: 2_000)
    for n in range(20):
        await store.add([thing(n)])
        await store.remove([one.id for one in await store.page()])
    found = await store.holdings()
    assert found == {}
    store.close()


async def test_a_file_that_can_not_be_written_holds_nothing_and_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.write_text("a file, not a folder")
    store = HeldStore(folder / "held.db", lambda: 1 << 20)
    with pytest.raises(StateUnwritable, match=r"held\.db"):
        await store.add([thing(1)])
    folder.unlink()
    await store.add([thing(2)])
    assert [one.topic for one in await store.page()] == ["line 2"]
    store.close()


async def test_a_damaged_file_is_moved_aside_and_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(b"not a database at all" * 100)
    store = HeldStore(path, lambda: 1 << 20)
    await store.add([thing(1)])
    assert [one.topic for one in await store.page()] == ["line 1"]
    store.close()
    (aside,) = path.parent.glob("held.db.damaged-*")
    assert aside.read_bytes().startswith(b"not a database")
    assert "held_damaged" in capsys.readouterr().out


async def test_it_is_a_plain_table_for_other_programs(path: Path) -> None:
    store = HeldStore(path, lambda: 1 << 20)
    await store.add([thing(1)])
    store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT source, topic, reason FROM held").fetchall() == [("http", "line 1", "not a number")]
    db.close()
