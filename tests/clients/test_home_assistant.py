"""Home Assistant, as it is, with its integration `influxdb` and its recorder: what it knows of a house is in iotd."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from iotd.model.series import Series
from tests.clients.building import TOKEN, Building, Readings, eventually
from tests.servers import hass
from tests.servers.clients import Program
from tests.servers.daemon import iotd

pytestmark = [pytest.mark.redis, pytest.mark.ecosystem]

APIS = ("1", "2")
SENSORS = {
    "sensor.grand_salon_temperature": ("temperature", "salon"),
    "sensor.living_room_humidity": ("humidity", "salon"),
    "sensor.kitchen_energy": ("energy", "cuisine"),
    "sensor.cuisine_air": ("co2", "cuisine"),
    "binary_sensor.kitchen_window": ("contact", "cuisine"),
    "binary_sensor.cuisine_movement": ("motion", "cuisine"),
}
"""By entity: the type that its device class says, and the room that its friendly name says."""
_HERE_STARTS_S = 90
_CONFIGURATION = """
recorder:
  commit_interval: 0
influxdb:
{influxdb}
  include:
    entity_globs: ["sensor.*", "binary_sensor.*"]
template:
  - trigger:
      - platform: time_pattern
        seconds: "/1"
    sensor:
      - name: Grand salon temperature
        device_class: temperature
        unit_of_measurement: "°C"
        state: "{{{{ 19 + now().second / 8 }}}}"
      - name: Living room humidity
        device_class: humidity
        unit_of_measurement: "%"
        state: "{{{{ 40 + now().second % 9 }}}}"
        availability: "{{{{ now().second % 4 != 0 }}}}"
      - name: Kitchen energy
        device_class: energy
        state_class: total_increasing
        unit_of_measurement: Wh
        state: "{{{{ (as_timestamp(now()) - 1700000000) | int }}}}"
      - name: Cuisine air
        device_class: carbon_dioxide
        unit_of_measurement: ppm
        state: "{{{{ 400 + now().second }}}}"
    binary_sensor:
      - name: Kitchen window
        device_class: window
        state: "{{{{ now().second % 2 == 0 }}}}"
      - name: Cuisine movement
        device_class: motion
        state: "{{{{ now().second % 3 == 0 }}}}"
"""
_INFLUXDB = {
    "1": "  host: 127.0.0.1\n  port: {port}\n  ssl: false\n  username: anyone\n  password: {token}\n  database: home",
    "2": "  api_version: 2\n  host: 127.0.0.1\n  port: {port}\n  ssl: false\n  token: {token}\n"
    "  organization: home\n  bucket: home",
}


@contextmanager
def home_assistant(house: Building, api: str, folder: Path) -> Iterator[Program]:
    """A Home Assistant with its configuration and its database in a folder; it sends what it knows to the house."""
    configuration = _CONFIGURATION.format(influxdb=_INFLUXDB[api].format(port=house.port, token=TOKEN))
    # its own page is at a port of the same block
    with hass.home_assistant(folder, house.port + 1, configuration) as made:
        yield made.program


def states(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """What its recorder has written down, by entity: time (ms) and state."""
    path = folder / "home-assistant_v2.db"
    found: dict[str, list[tuple[int, str]]] = {}
    if not path.exists():
        return found
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as db:
        try:
            rows = db.execute(
                "SELECT states_meta.entity_id, last_updated_ts, state FROM states JOIN states_meta USING (metadata_id) "
                "ORDER BY last_updated_ts"
            ).fetchall()
        except sqlite3.OperationalError:
            return found  # it is making it
    for entity, at, state in rows:
        if entity in SENSORS:
            found.setdefault(entity, []).append((round(at * 1_000_000) // 1_000, state))
    return found


def wanted(recorded: dict[str, list[tuple[int, str]]]) -> Readings:
    """What must be in iotd of these states."""
    found: Readings = {}
    for entity, rows in recorded.items():
        kind, location = SENSORS[entity]
        factor = 1_000 if kind == "energy" else 1  # it comes in Wh
        series = Series(kind, location, entity)
        found[series] = [
            (at, {"on": 1.0, "off": 0.0}[state] if state in ("on", "off") else float(state) / factor)
            for at, state in rows
            if state not in ("unavailable", "unknown")
        ]
    return found


async def lives(program: Program, folder: Path, more: int) -> None:
    """Waits until each of its sensors has said so much more."""
    before = {entity: len(rows) for entity, rows in states(folder).items()}

    def enough() -> bool:
        program.alive()
        now = states(folder)
        return all(len(now.get(entity, ())) >= before.get(entity, 0) + more for entity in SENSORS)

    await eventually(enough, _HERE_STARTS_S, "its sensors speak")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("api", APIS)
async def test_its_sensors_are_in_the_house_by_what_it_says_of_them(
    own_house: Building, api: str, tmp_path: Path
) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    runs = []
    for _ in range(2):
        with home_assistant(own_house, api, folder) as program:
            await lives(program, folder, 8)
            assert await asyncio.to_thread(program.stop, 60) == 0
        runs.append(states(folder))
    before, recorded = runs
    assert any(state == "unavailable" for _, state in recorded["sensor.living_room_humidity"])
    # when it starts it says again what it remembers, before its integration listens: that is recorded, and never sent
    sent = {entity: [*before[entity], *rows[len(before[entity]) + 1 :]] for entity, rows in recorded.items()}
    await own_house.comes_to_hold(wanted(sent))
    assert own_house.held() == []

    # the database that it has written says the same, and that: nothing is there twice
    database = folder / "home-assistant_v2.db"
    for _ in range(2):
        ended = await iotd("import", str(database), "--again", config=own_house.system.config)
        assert ended.code == 0, ended.out + ended.err
    await own_house.comes_to_hold(wanted(recorded))


@pytest.mark.timeout(300)
async def test_a_database_that_it_has_written_is_imported_and_twice_changes_nothing(
    own_house: Building, tmp_path: Path
) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    own_house.admit("another-token-altogether")  # nothing comes by the other way
    with home_assistant(own_house, "1", folder) as program:
        await lives(program, folder, 8)
        assert await asyncio.to_thread(program.stop, 60) == 0
    assert await own_house.stored() == {}
    recorded = states(folder)
    for again in ((), (), ("--again",)):
        ended = await iotd("import", str(folder / "home-assistant_v2.db"), *again, config=own_house.system.config)
        assert ended.code == 0, ended.out + ended.err
        await own_house.comes_to_hold(wanted(recorded))
