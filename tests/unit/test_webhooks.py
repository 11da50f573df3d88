"""What devices post by themselves, with invented values; any other thing is refused or says nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.errors import Refused
from iotd.model.observation import Observation
from iotd.sources.devices import (
    airgradient,
    chirpstack,
    ecowitt,
    sensor_community,
    shelly,
    the_things_stack,
    weather_underground,
)

ALL = (airgradient, chirpstack, ecowitt, sensor_community, shelly, the_things_stack, weather_underground)

Found = set[tuple[str, str, Any, str | None]]


def short(found: list[Observation]) -> Found:
    return {(one.type, one.sensor, one.value, one.unit) for one in found}


def test_an_ecowitt_station_and_its_channels() -> None:
    found = ecowitt.observations(
        {
            "PASSKEY": "5F3C9A00112233445566778899AABBCC",
            "stationtype": "GW2000A_V3.1.2",
            "dateutc": "2026-11-28+04:20:00",
            "tempinf": "70.7",
            "humidityin": "45",
            "baromrelin": "29.921",
            "baromabsin": "28.993",
            "tempf": "41.0",
            "humidity": "88",
            "windspeedmph": "10.00",
            "totalrainin": "12.4",
            "temp2f": "66.2",
            "humidity2": "51",
            "pm25_ch1": "7.0",
            "batt2": "0",
            "tf_ch3": "",
        }
    )
    station = found[0].sensor.removesuffix(" indoor")
    assert "5F3C" not in station
    assert short(found) == {
        ("temperature", f"{station} indoor", "70.7", "°F"),
        ("humidity", f"{station} indoor", "45", None),
        ("temperature", f"{station} outdoor", "41.0", "°F"),
        ("humidity", f"{station} outdoor", "88", None),
        ("wind", f"{station} outdoor", "10.00", "mph"),
        ("rain", f"{station} outdoor", "12.4", "in"),
        ("pressure", f"{station} outdoor", "28.993", "inHg"),
        ("pressure", f"{station} sea level", "29.921", "inHg"),
        ("temperature", f"{station} channel 2", "66.2", "°F"),
        ("humidity", f"{station} channel 2", "51", None),
        ("pm25", f"{station} channel 1", "7.0", None),
    }
    assert {one.time for one in found} == {"2026-11-28T04:20:00Z"}


def test_a_station_that_uploads_to_weather_underground() -> None:
    found = weather_underground.observations(
        {"ID": "IVILLE7", "PASSWORD": "x", "dateutc": "now", "tempf": "64.6", "indoorhumidity": "40", "baromin": "29.9"}
    )
    assert short(found) == {
        ("temperature", "wu-IVILLE7 outdoor", "64.6", "°F"),
        ("humidity", "wu-IVILLE7 indoor", "40", None),
        ("pressure", "wu-IVILLE7 sea level", "29.9", "inHg"),
    }
    assert found[0].time is None


def test_a_sensor_community_device_whose_values_are_text() -> None:
    found = sensor_community.observations(
        {
            "esp8266id": "1234567",
            "software_version": "NRZ-2020-133",
            "sensordatavalues": [
                {"value_type": "SDS_P1", "value": "9.93"},
                {"value_type": "SDS_P2", "value": "4.10"},
                {"value_type": "BME280_temperature", "value": "21.40"},
                {"value_type": "BME280_pressure", "value": "100271.30"},
                {"value_type": "signal", "value": "-61"},
                {"value_type": "samples", "value": "802442"},
            ],
        }
    )
    assert short(found) == {
        ("pm10", "1234567 SDS", "9.93", None),
        ("pm25", "1234567 SDS", "4.10", None),
        ("temperature", "1234567 BME280", "21.40", None),
        ("pressure", "1234567 BME280", "100271.30", "Pa"),
        ("rssi", "1234567", "-61", None),
    }


def test_an_airgradient_monitor() -> None:
    body = {"wifi": -46, "serialno": "ecda3b1eaaaf", "rco2": 447, "pm01": 3, "pm02": 7, "atmp": 25.87, "rhum": 43}
    assert short(airgradient.observations(body)) == {
        ("rssi", "ecda3b1eaaaf", -46, None),
        ("co2", "ecda3b1eaaaf", 447, None),
        ("pm1", "ecda3b1eaaaf", 3, None),
        ("pm25", "ecda3b1eaaaf", 7, None),
        ("temperature", "ecda3b1eaaaf", 25.87, None),
        ("humidity", "ecda3b1eaaaf", 43, None),
    }


def test_a_shelly_of_the_first_generation_and_a_later_one() -> None:
    assert short(shelly.observations({"id": "shellyht-1A2B", "hum": "51", "temp": "21.38"})) == {
        ("humidity", "shellyht-1A2B", "51", None),
        ("temperature", "shellyht-1A2B", "21.38", None),
    }
    found = shelly.observations(
        {
            "src": "shellyplusht-08b61f",
            "method": "NotifyFullStatus",
            "params": {
                "ts": 1_796_000_000.62,
                "temperature:0": {"id": 0, "tC": 19.8, "tF": 67.7},
                "humidity:0": {"id": 0, "rh": 61.2},
                "devicepower:0": {"battery": {"V": 5.3, "percent": 78}, "external": {"present": False}},
                "switch:1": {"output": True, "apower": 12.4, "aenergy": {"total": 1234.5, "by_minute": [0]}},
                "sys": {"uptime": 5},
            },
        }
    )
    assert short(found) == {
        ("temperature", "shellyplusht-08b61f", 19.8, None),
        ("humidity", "shellyplusht-08b61f", 61.2, None),
        ("battery", "shellyplusht-08b61f", 78, None),
        ("voltage", "shellyplusht-08b61f", 5.3, None),
        ("switch", "shellyplusht-08b61f 1", True, None),
        ("power", "shellyplusht-08b61f 1", 12.4, None),
        ("energy", "shellyplusht-08b61f 1", 1234.5, "Wh"),
    }
    assert {one.time for one in found} == {1_796_000_000.62}


def test_an_uplink_of_chirpstack() -> None:
    found = chirpstack.observations(
        {
            "deduplicationId": "3ac7e3c4",
            "time": "2026-11-28T04:20:00.123+00:00",
            "deviceInfo": {"deviceName": "salon-th", "devEui": "0101010101010101", "tags": {"room": "Grand salon"}},
            "fCnt": 33,
            "object": {"temperature": 21.5, "nested": {"humidity": 45}},
            "rxInfo": [{"rssi": -110}, {"rssi": -87}],
        }
    )
    assert short(found) == {
        ("temperature", "0101010101010101", 21.5, None),
        ("humidity", "0101010101010101 nested", 45, None),
        ("rssi", "0101010101010101", -87, None),
    }
    assert found[0].hints == ("salon-th", "Grand salon")
    assert chirpstack.observations({"deviceInfo": {"devEui": "01"}, "batteryLevel": 80}) == []


def test_an_uplink_of_the_things_stack() -> None:
    found = the_things_stack.observations(
        {
            "end_device_ids": {"device_id": "cuisine-th", "dev_eui": "70B3D57ED0000001"},
            "received_at": "2026-11-28T04:20:01Z",
            "uplink_message": {
                "f_cnt": 7,
                "decoded_payload": {"temperature": 0.0, "mode": "normal"},
                "rx_metadata": [{"rssi": -95}],
                "received_at": "2026-11-28T04:20:00Z",
            },
        }
    )
    assert short(found) == {
        ("temperature", "70B3D57ED0000001", 0.0, None),
        ("rssi", "70B3D57ED0000001", -95, None),
    }
    assert {(one.time, one.hints) for one in found} == {("2026-11-28T04:20:00Z", ("cuisine-th",))}
    assert the_things_stack.observations({"end_device_ids": {"device_id": "x"}, "join_accept": {}}) == []


@pytest.mark.parametrize("read", [one.observations for one in ALL])
def test_another_form_is_refused(read: Callable[[Mapping[str, Any]], list[Observation]]) -> None:
    bodies: list[Mapping[str, Any]] = [
        {},
        {"hello": "world"},
        {"PASSKEY": "", "id": None, "deviceInfo": [], "end_device_ids": 3},
    ]
    for body in bodies:
        with pytest.raises(Refused, match="not of this form"):
            read(body)


names = st.one_of(
    st.text(min_size=1, max_size=5),
    st.sampled_from(
        ["PASSKEY", "dateutc", "ID", "tempf", "esp8266id", "sensordatavalues", "value_type", "serialno", "rco2", "id",
         "params", "src", "temperature:0", "switch:1", "aenergy", "deviceInfo", "devEui", "object", "rxInfo", "rssi",
         "end_device_ids", "device_id", "uplink_message", "decoded_payload", "rx_metadata"]
    ),
)  # fmt: skip
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
bodies = st.dictionaries(
    names,
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4)),
    max_size=6,
)


@given(st.sampled_from([one.observations for one in ALL]), bodies)
def test_any_body_is_observations_or_refused(
    read: Callable[[Mapping[str, Any]], list[Observation]], body: Mapping[str, Any]
) -> None:
    try:
        found = read(body)
    except Refused:
        return
    assert all(one.type and one.sensor for one in found)
