"""What a broker's source remembers: over restarts, within a bound, of this broker only."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from iotd.model.errors import StateUnwritable
from iotd.sources.mqtt import memory as module
from iotd.sources.mqtt.memory import Memory, Said, Since
from iotd.sources.mqtt.presets.base import Heard, Presence

URL = "mqtt://broker:1883"
Make = Callable[[], Memory]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Memory] = []

    def one() -> Memory:
        made.append(Memory(tmp_path / "mqtt.sqlite"))
        return made[-1]

    yield one
    for memory in made:
        memory.close()


def gone(who: str) -> Heard:
    return Heard(presence=[Presence(who, online=False)])


async def test_what_was_kept_is_there_after_a_restart(make: Make) -> None:
    one = make()
    await one.open(URL, None)
    assert one.subscribed is None
    await one.subscribes(["a/#", "b"])
    assert one.hear("homie", "homie/d/$unit", Heard(notes={"unit d": "°C", "name d": "x"}), 5)
    assert not one.hear("homie", "homie/d/$unit", Heard(notes={"unit d": "°C"}), 6)
    assert one.hear("homie", "homie/d/$name", Heard(notes={"name d": None}), 7)
    one.hear("tasmota", "tele/plug/LWT", gone("plug"), 8)
    one.hear("tasmota", "tele/plug/LWT", gone("plug"), 9)
    await one.keep()
    one.close()
    again = make()
    await again.open(URL, None)
    assert again.client_id == one.client_id
    assert again.client_id.startswith("iotd-")
    assert again.subscribed == frozenset({"a/#", "b"})
    assert again.notes == {"homie": {"unit d": "°C"}}
    assert again.presence == {Said("tasmota", "tele/plug/LWT", "plug"): Since(False, False, 8)}


async def test_what_was_not_kept_yet_can_be_kept_later(make: Make, tmp_path: Path) -> None:
    one = make()
    await one.open(URL, None)
    one.hear("homie", "t", Heard(notes={"unit d": "°C"}), 5)
    with sqlite3.connect(tmp_path / "mqtt.sqlite") as other:
        other.execute("BEGIN IMMEDIATE")
        one._db._timeout = 0
        one._db.close()
        with pytest.raises(StateUnwritable):
            await one.keep()
        other.rollback()
    other.close()
    await one.keep()
    again = make()
    await again.open(URL, None)
    assert again.notes == {"homie": {"unit d": "°C"}}


async def test_who_is_told_of_no_more_is_forgotten(make: Make) -> None:
    one = make()
    await one.open(URL, None)
    one.hear("zigbee2mqtt", "zigbee2mqtt/x/availability", gone("x"), 5)
    one.hear("zigbee2mqtt", "zigbee2mqtt/y/availability", gone("y"), 5)
    await one.keep()
    one.forget("zigbee2mqtt", "zigbee2mqtt/x/availability")
    await one.keep()
    again = make()
    await again.open(URL, None)
    assert [at.who for at in again.presence] == ["y"]


@pytest.mark.parametrize(("url", "client_id"), [("mqtt://other", None), (URL, "another")])
async def test_at_another_broker_or_as_another_client_nothing_is_known(
    make: Make, url: str, client_id: str | None
) -> None:
    one = make()
    await one.open(URL, None)
    await one.subscribes(["a"])
    one.hear("homie", "t", Heard(notes={"unit d": "°C"}, presence=[Presence("d", online=False)]), 5)
    await one.keep()
    one.close()
    again = make()
    await again.open(url, client_id)
    assert (again.subscribed, again.notes, again.presence) == (None, {}, {})
    assert again.client_id == client_id or one.client_id


async def test_more_than_may_be_remembered_is_passed_over_and_told(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 10_000)
    one = make()
    await one.open(URL, None)
    for n in range(1_000):
        one.hear("homie", "t", Heard(notes={f"unit {n}": "x" * 50}), n)
    assert one.full
    assert 10 < len(one.notes["homie"]) < 100
    one.hear("homie", "t", Heard(notes={"unit 0": None}), 5)
    assert one.hear("homie", "t", Heard(notes={"unit a": "x"}), 5)
    await one.keep()


@pytest.mark.parametrize("content", [b"", b"no database at all, whatever it is", b"SQLite format 3\0" + b"x" * 4_080])
async def test_a_file_that_is_damaged_is_moved_aside(make: Make, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mqtt.sqlite").write_bytes(content)
    one = make()
    await one.open(URL, None)
    await one.subscribes(["a"])
    again = make()
    await again.open(URL, None)
    assert again.subscribed == frozenset({"a"})
    assert len(list(tmp_path.glob("mqtt.sqlite*"))) >= (1 if not content else 2)
