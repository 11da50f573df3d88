"""Line protocol: what Telegraf, Home Assistant and people write becomes observations, and nothing else is lost."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.intake.moments import moment_of
from iotd.intake.resolve import Resolver
from iotd.intake.values import value_of
from iotd.model.errors import Ignored, Refused
from iotd.model.observation import Moment, Observation, Subject
from iotd.model.series import Series
from iotd.model.types import BUILT_IN
from iotd.sources.http.linereader import LineReader
from iotd.sources.http.lines import Line, lines

RESOLVER = Resolver(BUILT_IN, {"salon": ("living room",), "salle_a_manger": ("Salle à manger",)}, {})
NS = 1_796_000_000_123_456_789


def read(body: str, precision: str = "ns") -> list[Line]:
    return list(lines(body.encode(), precision, RESOLVER))


def said(body: str) -> list[Observation]:
    (line,) = read(body)
    assert line.refused is None
    return line.said


@pytest.mark.parametrize(
    ("line", "series"),
    [
        ("temperature,location=salon,sensor_id=north value=21.5", [Series("temperature", "salon", "north")]),
        (
            "weather,location=salon,sensor=north temperature=21.3,humidity=45i",
            [Series("temperature", "salon", "north"), Series("humidity", "salon", "north")],
        ),
        (  # Home Assistant: the measurement is the unit
            '°C,domain=sensor,entity_id=salon_temperature value=21.3,device_class_str="temperature",'
            'friendly_name_str="Salon temperature",battery_level=93',
            [
                Series("temperature", "salon", "sensor.salon_temperature"),
                Series("battery", "salon", "sensor.salon_temperature"),
            ],
        ),
        (
            "%,domain=sensor,entity_id=salon_humidity value=45",
            [Series("humidity", "salon", "sensor.salon_humidity")],
        ),
        (  # its binary sensors have no unit
            'binary_sensor.salon_door,domain=binary_sensor,entity_id=salon_door device_class_str="window",'
            'friendly_name_str="Salon door",state="off",value=0',
            [Series("contact", "salon", "binary_sensor.salon_door")],
        ),
        (  # Telegraf's mqtt_consumer
            r"mqtt_consumer,host=pi,topic=zigbee2mqtt/Salle\ à\ manger temperature=21,linkquality=120",
            [Series("temperature", "salle_a_manger", "zigbee2mqtt/Salle à manger")],
        ),
        ("co2,room=living\\ room value=600u 1796000000123456789", [Series("co2", "salon", "co2")]),
        ("pressure_Pa,location=salon,id=1 value=101325", [Series("pressure", "salon", "1")]),
    ],
)
def test_a_line_is_understood_whoever_wrote_it(line: str, series: list[Series]) -> None:
    known = [one for one in said(line) if RESOLVER.knows(one.type)]
    assert sorted(RESOLVER.resolve(one.subject)[0] for one in known) == sorted(series)


def test_of_a_binary_sensor_the_text_counts_so_that_a_low_battery_is_not_taken_for_a_level() -> None:
    line = "binary_sensor.salon_battery,domain=binary_sensor,entity_id=salon_battery"
    (one,) = said(f'{line} device_class_str="battery",state="on",value=1')
    assert (one.type, one.value) == ("battery", "on")
    with pytest.raises(Refused):
        value_of(one.value, BUILT_IN["battery"])


def test_units_and_times_come_with_it() -> None:
    (one,) = said("temperature,location=salon,sensor=1,unit=°F value=70.7 1796000000123456789")
    assert (one.unit, one.time, one.value) == ("°F", Moment(1_796_000_000_123), 70.7)
    (one,) = said("°F,entity_id=salon_temperature value=70.7")
    assert (one.unit, one.time) == ("°F", None)


@pytest.mark.parametrize(("precision", "per_ms"), [("ns", 1_000_000), ("us", 1_000), ("ms", 1), ("s", 0.001)])
def test_times_are_in_the_precision_that_was_said(precision: str, per_ms: float) -> None:
    body = f"temperature,location=salon value=1 {round(1_796_000_000_000 * per_ms)}"
    assert read(body, precision)[0].said[0].time == Moment(1_796_000_000_000)


def test_a_bad_line_is_named_by_its_number_and_the_others_are_read() -> None:
    found = read(
        "# comment\ntemperature,location=salon value=1\n\nhalf a li\r\nhumidity,location=salon value=2\r\nx y="
    )
    assert [(one.number, one.refused is None) for one in found] == [(2, True), (4, False), (5, True), (6, False)]
    assert found[1].text == b"half a li\r"


def test_quoted_text_may_hold_line_breaks_and_quotes() -> None:
    body = 'temperature,location=salon note="two\nlines, \\"quoted\\"",value=1\nhumidity,location=salon value=2'
    assert [[one.value for one in line.said] for line in read(body)] == [[1.0], [2.0]]
    body = 'temperature,location=salon note="never closed\nhumidity,location=salon value=2'
    assert [line.refused is None for line in read(body)] == [False, True]


def test_a_line_without_any_reading_is_refused() -> None:
    (line,) = read('log,location=salon message="hello"')
    assert line.refused is not None
    assert line.refused.reason == "unknown type"


@given(
    st.one_of(st.binary(), st.text(alphabet='temperature,location=salon vu1.5e"\\\n# °', max_size=200).map(str.encode))
)
def test_any_bytes_are_lines_or_refused_each_once(body: bytes) -> None:
    found = list(lines(body, "ns", RESOLVER))
    assert [one.number for one in found] == sorted({one.number for one in found})
    assert all(bool(one.said) is (one.refused is None) for one in found)
    bare = [piece.strip() for piece in body.split(b"\n")]
    named = sum(one.text.count(b"\n") + 1 for one in found)
    assert named <= len(bare)
    assert named >= sum(1 for piece in bare if piece and not piece.startswith(b"#")) - body.count(b'"') * 64


def test_what_a_thermostat_is_set_to_is_no_reading() -> None:
    line = 'climate.salon,domain=climate,entity_id=salon current_temperature=20.5,temperature=21,state="heat"'
    (one,) = [one for one in said(line) if RESOLVER.knows(one.type)]
    assert (RESOLVER.resolve(one.subject)[0], one.value) == (Series("temperature", "salon", "climate.salon"), 20.5)


def test_a_device_class_that_nobody_knows_is_not_guessed_at() -> None:
    (one,) = said('kbit/s,domain=sensor,entity_id=salon_power value=3,device_class_str="data_rate"')
    assert one.type == "data_rate"
    (one,) = said("temperature,type=dht22,location=salon value=21")
    assert one.type == "temperature"


@pytest.mark.parametrize("stamp", ["1796000000", "1796000000000", "1796000000000000", "1796000000000000000"])
def test_a_time_may_be_told_by_its_size(stamp: str) -> None:
    (line,) = read(f"temperature,location=salon value=1 {stamp}", "auto")
    assert moment_of(line.said[0].time, UTC) == Moment(1_796_000_000_000)


def test_what_is_to_be_ignored_is_passed_over() -> None:
    names = Resolver(BUILT_IN, {"salon": ()}, {}, ignored=("cpu", "Disk*"))
    body = b"cpu,host=pi usage_idle=99\ndisk_io,host=pi reads=1i\nmem,host=pi used=1\ncpu x"
    assert [line.number for line in lines(body, "ns", names)] == [3, 4]
    for reader in (LineReader(), LineReader()):
        found = reader.read(body, "", "ns", names)
        assert (found.numbers, list(found.refusals)) == ([3], [4])
    with pytest.raises(Ignored):
        names.resolve(Subject("disk usage", "pi", "salon"))
