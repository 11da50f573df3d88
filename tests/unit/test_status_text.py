"""`iotd status` as text: what is held and who is silent, whatever their names are."""

from __future__ import annotations

import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from iotd.cli.status import _notes
from iotd.config import load
from iotd.health.silence import SilentSensor
from iotd.query.status import ShardsStatus
from tests.unit.test_judge import WELL, holdings

MIB = 1024**2


def printed(folder: Path, **changes: Any) -> str:
    said = asdict(replace(WELL, **changes))
    console = Console(file=io.StringIO(), width=200)
    for note in _notes(load(state_dir=folder, locations=["salon"]), ShardsStatus((), 0.1), said):
        console.print(note)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def silent(location: str, sensor: str) -> SilentSensor:
    return SilentSensor(location, sensor, ("temperature",), 0, 60_000, None, None)


def test_nothing_is_said_of_what_is_not_there(tmp_path: Path) -> None:
    text = printed(tmp_path, held={"http": holdings(count=0, reasons={})})
    assert "held" not in text
    assert "silent" not in text


def test_what_is_held_is_told_by_source_with_reasons_however_old_it_is(tmp_path: Path) -> None:
    reasons = {"unknown type": 1_000, "not [/plausible]": 2_000}
    text = printed(tmp_path, held={"http": holdings(count=3_000, bytes=MIB, reasons=reasons)}, held_limit=64 * MIB)
    assert "held of http: 3,000 (2,000 not [/plausible], 1,000 unknown type), 1.6% of intake.held_limit" in text
    assert "`iotd sensors held`" in text


def test_silent_sensors_are_counted_by_location(tmp_path: Path) -> None:
    found = [silent("salon", "[/1]"), silent("salon", "2"), silent("cuisine", "1")]
    assert "silent sensors: 2 in salon, 1 in cuisine; " in printed(tmp_path, silent_sensors=found)


def test_a_condition_is_printed_as_it_is_whatever_a_sensor_is_called(tmp_path: Path) -> None:
    one = {"name": "sensor_silent", "severity": "warning", "location": "salon", "since": 0.0, "until": None}
    said = {**one, "detail": "[/red] north [bold]", "remedy": "`[silence]` has the bounds"}
    text = printed(tmp_path, conditions=[said], past=[{**said, "until": 1.0}])
    assert text.count("[/red] north [bold]") == 2
    assert "`[silence]` has the bounds" in text
