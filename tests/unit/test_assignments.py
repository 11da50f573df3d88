"""What people said of sensors is kept, whole or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from iotd.intake.assignments import Assignments, read_calibrations
from iotd.intake.resolve import Assignment
from iotd.model.calibration import EVER, RAW, Calibration, Line, Span
from iotd.model.errors import StateError, StateUnwritable
from iotd.model.series import Series


def test_what_was_said_is_there_after_a_restart_and_may_be_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "sensors.json"
    assigned = Assignments(path)
    assigned.change("0x1", location="salon", name="fenêtre nord")
    assigned.change("0x1", location="cuisine")
    assigned.change("90", continues="17", location="salon")
    assert Assignments(path).all == {
        "0x1": Assignment("cuisine", name="fenêtre nord"),
        "90": Assignment("salon", "17"),
    }
    assigned.change("90", continues=None, location=None)
    assigned.forget("0x1")
    assert Assignments(path).all == assigned.all == {}


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[]",
        '{"0x1": {"attic": "x"}}',
        '{"0x1": {"location": 7}}',
        '{"0x1": 3}',
        '{"0x1": {"since": "now"}}',
        '{"0x1": {"since": true}}',
        '{"0x1": {"calibrations": []}}',
        '{"0x1": {"calibrations": {"temperature": [{"since": 0, "factor": 1.5}]}}}',
        '{"0x1": {"calibrations": {"temperature": [{"since": 0, "factor": 0, "offset": 1}]}}}',
        '{"0x1": {"calibrations": {"temperature": [{"since": 0, "factor": NaN, "offset": 1}]}}}',
        '{"0x1": {"calibrations": {"temperature": [{"since": 0.5, "factor": 2, "offset": 1}]}}}',
        '{"0x1": {"calibrations": {"temperature": [{"since": 0, "factor": null, "offset": 1}]}}}',
        '{"0x1": {"calibrations": {"temperature": "+1"}}}',
    ],
)
def test_a_file_that_is_damaged_is_moved_aside_and_named(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sensors.json"
    path.write_text(content)
    with pytest.raises(StateError, match=r"sensors\.json: calibrations can't be read .*--raw"):
        read_calibrations(tmp_path)
    assert path.read_text() == content
    assert Assignments(path).all == {}
    assert not read_calibrations(tmp_path)
    assert "assignments_damaged" in capsys.readouterr().out
    assert [aside.read_text() for aside in tmp_path.glob("sensors.json.damaged-*")] == [content]


def test_what_can_not_be_kept_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    assigned = Assignments(tmp_path / "no" / "sensors.json")
    (tmp_path / "no").write_text("a file where the folder is to be")
    with pytest.raises(StateUnwritable, match=r"sensors\.json"):
        assigned.change("0x1", location="salon")
    assert assigned.all == {}


SALON, CUISINE = Series("temperature", "salon", "1"), Series("temperature", "cuisine", "1")
ONE, TWO = Line(offset=1.0), Line(2.0, 0.5)


def test_a_calibration_is_there_after_a_restart_and_for_whoever_reads_the_file(tmp_path: Path) -> None:
    assigned = Assignments(tmp_path / "sensors.json")
    assigned.change("1", name="nord")
    assigned.calibrate("1", "temperature", None, EVER, ONE)
    assigned.calibrate("1", "temperature", None, 500, TWO)
    assigned.calibrate("1", "humidity", None, EVER, TWO)
    assigned.change("1", location="salon")
    for found in (assigned.calibrations, Assignments(assigned.path).calibrations, read_calibrations(tmp_path)):
        assert found.of(SALON).spans == (Span(EVER, ONE), Span(500, TWO))
    assert Assignments(assigned.path).all == assigned.all
    assigned.calibrate("1", "temperature", None, EVER, TWO)
    assert read_calibrations(tmp_path).of(SALON).spans == (Span(EVER, TWO),)
    assigned.calibrate("1", "temperature", None, EVER, RAW)
    assigned.calibrate("1", "humidity", None, EVER, RAW)
    assert not read_calibrations(tmp_path)
    assert Assignments(assigned.path).all == assigned.all == {"1": Assignment("salon", name="nord")}


def test_of_sensors_of_one_id_each_has_its_own_calibration(tmp_path: Path) -> None:
    assigned = Assignments(tmp_path / "sensors.json")

    def found() -> list[Calibration]:
        there = read_calibrations(tmp_path)
        assert Assignments(assigned.path).all == assigned.all
        return [there.of(SALON), there.of(CUISINE)]

    ones, twos = Calibration([Span(EVER, ONE)]), Calibration([Span(EVER, TWO)])
    assigned.calibrate("1", "temperature", None, EVER, ONE)
    assigned.calibrate("1", "temperature", "salon", 500, TWO)
    assert found() == [Calibration([Span(EVER, ONE), Span(500, TWO)]), ones]
    assigned.calibrate("1", "temperature", "salon", EVER, RAW)
    assert found() == [Calibration(), ones]
    assigned.calibrate("1", "temperature", None, EVER, TWO)
    assert found() == [twos, twos]
    assigned.calibrate("1", "temperature", None, EVER, RAW)
    assigned.calibrate("1", "temperature", "salon", EVER, ONE)
    assert found() == [ones, Calibration()]
    assigned.calibrate("1", "temperature", "salon", EVER, RAW)
    assert assigned.all == {}


def test_a_location_that_is_renamed_keeps_what_was_said_of_it(tmp_path: Path) -> None:
    assigned = Assignments(tmp_path / "sensors.json")
    assigned.change("0x1", location="salon", name="nord")
    assigned.change("0x2", location="bain")
    assigned.calibrate("1", "temperature", "salon", EVER, ONE)
    assigned.calibrate("1", "temperature", "bain", EVER, TWO)
    assigned.rename("salon", "séjour")
    assert assigned.all["0x1"] == Assignment("séjour", name="nord")
    assert assigned.all["0x2"] == Assignment("bain")
    there = read_calibrations(tmp_path)
    assert [there.of(Series("temperature", name, "1")).at(0) for name in ("séjour", "bain", "salon")] == [ONE, TWO, RAW]
    assert Assignments(assigned.path).all == assigned.all


def test_what_several_say_at_once_is_all_kept(tmp_path: Path) -> None:
    assigned = Assignments(tmp_path / "sensors.json")
    with ThreadPoolExecutor(8) as threads:
        for number in range(40):
            threads.submit(assigned.calibrate, str(number), "temperature", None, EVER, ONE)
    assert len(Assignments(assigned.path).all) == 40
