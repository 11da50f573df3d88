"""Which sensors there are is what the catalogue says; of simulated ones only where they are simulated."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from iotd.cli.history import history
from iotd.cli.upscreen import UpScreen
from iotd.config import load
from iotd.daemon.sensors import forget_unsimulated
from iotd.health.silence import FORGOTTEN, Silence
from iotd.intake.catalogue import Catalogue
from iotd.model.errors import UsageError
from iotd.model.series import Series
from iotd.query.status import _rate
from iotd.query.system import ShardingSystem

NOW = 1_796_000_000_000
INGEST = {"listen": "127.0.0.1:9109"}


def seen(folder: Path, **tables: Any) -> list[Series]:
    return ShardingSystem(load(state_dir=folder, locations=["salon"], archive={"store": "none"}, **tables))._seen()


def catalogue(folder: Path, *series: Series) -> None:
    made = Catalogue(folder / "catalogue.sqlite")
    try:
        asyncio.run(made.register(series, "http"))
    finally:
        made.close()


@pytest.mark.parametrize(
    ("tables", "count"),
    [
        ({}, 9),
        ({"sensors": {"per_type": 2, "types": ["contact"]}}, 2),
        ({"ingest": INGEST}, 0),
        ({"sources": {"meters": {"kind": "csv_tail", "path": "/x"}}}, 0),
        ({"simulator": {"enabled": "off"}}, 0),
        ({"simulator": {"enabled": "on"}, "ingest": INGEST}, 9),
    ],
)
def test_without_a_catalogue_there_are_those_that_are_simulated_or_none(
    tables: dict[str, Any], count: int, tmp_path: Path
) -> None:
    assert len(seen(tmp_path, **tables)) == count


def test_the_catalogue_says_what_there_is(tmp_path: Path) -> None:
    catalogue(tmp_path, door := Series("contact", "salon", "front door"))
    assert seen(tmp_path) == seen(tmp_path, ingest=INGEST) == [door]


def test_what_is_proposed_after_the_start_can_be_asked(tmp_path: Path) -> None:
    where: dict[str, Any] = {"state_dir": tmp_path, "locations": ["salon", "cuisine"]}
    assert UpScreen(load(**where))._to_ask()[0] == "query location salon temperature"
    assert UpScreen(load(**where, ingest=INGEST))._to_ask()[0] == "sensors"
    catalogue(tmp_path, Series("contact", "gone", "1"), Series("co2", "cuisine", "1"))
    assert UpScreen(load(**where, ingest=INGEST))._to_ask()[0] == "query location cuisine co2"


def test_what_is_simulated_no_more_is_not_expected_until_it_speaks(tmp_path: Path) -> None:
    made = Catalogue(tmp_path / "catalogue.sqlite")
    before, own, now = (Series("temperature", "salon", name) for name in ("7", "north", "1"))
    numbers = asyncio.run(made.register([before, now], "simulator salon")).tolist()
    numbers += asyncio.run(made.register([own], "http")).tolist()
    made.note(np.array(numbers, np.int32), np.full(3, NOW), np.zeros(3))
    silence = Silence(made, lambda: NOW)
    simulators = {"salon": SimpleNamespace(series=[now])}
    parts = {"catalogue": made, "silence": silence, "locations": ["salon"]}
    runtime: Any = SimpleNamespace(sources=SimpleNamespace(simulators=simulators), **parts)
    forget_unsimulated(runtime)
    assert (made.pauses[numbers] == FORGOTTEN).tolist() == [True, False, False]
    simulators.clear()
    forget_unsimulated(runtime)
    assert (made.pauses[numbers] == FORGOTTEN).tolist() == [True, True, False]
    made.note_one(numbers[0], NOW + 1_000, 20.0)  # a sensor of somebody's own, of the same name
    silence.look()
    assert (made.pauses[numbers] == FORGOTTEN).tolist() == [False, True, False]
    made.close()


def test_there_is_no_history_of_sensors_that_are_not_simulated(tmp_path: Path) -> None:
    config = tmp_path / "iotd.toml"
    config.write_text('[ingest]\nlisten = "127.0.0.1:9109"\n')
    with pytest.raises(UsageError, match="no simulated sensors"):
        history.main(["--days", "1"], standalone_mode=False, obj=config)


def test_a_room_is_called_by_its_display_name_or_by_its_own(tmp_path: Path) -> None:
    rooms = {"salon": {"name": "Grand salon"}, "salle_de_bain": {}}
    settings = load(state_dir=tmp_path, locations=rooms)
    assert [settings.called(name) for name in ("salon", "salle_de_bain", "gone_room")] == [
        *("Grand salon", "salle de bain", "gone room")
    ]


def test_the_rate_of_writing_counts_sensors_that_speak_seldom_over_a_longer_time() -> None:
    assert _rate({b"a": 10.0, b"b": 1.0}, {b"a": 600.0, b"b": 10.0, b"c": 1.0}) == pytest.approx(1 + 10 / 600 + 1 / 600)
    assert _rate({}, {}) == 0.0
