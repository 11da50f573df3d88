"""Readings as JSON."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.errors import Refused
from iotd.model.observation import Observation
from iotd.sources.http.jsonreadings import as_dict, objects, reading
from iotd.sources.http.pieces import json_pieces

NORTH = {"type": "temperature", "location": "salon", "sensor": "north", "value": 21.3}
SAID = Observation("temperature", "north", 21.3, "salon")


def readings(body: bytes) -> list[Observation]:
    return [reading(one) for one in objects(body)]


@pytest.mark.parametrize(
    "body",
    [json.dumps(NORTH), json.dumps([NORTH]), json.dumps({"readings": [NORTH]}), json.dumps(NORTH) + "\n"],
)
def test_an_object_a_list_or_an_object_a_line(body: str) -> None:
    assert readings(body.encode()) == [SAID]
    assert readings(f"{json.dumps(NORTH)}\n{json.dumps(NORTH)}".encode()) == [SAID, SAID]


def test_numbers_may_be_ids_and_the_rest_is_optional() -> None:
    (one,) = readings(b'{"type": "co2", "sensor": 1, "value": "612", "unit": "ppm", "time": 1796000000}')
    assert one == Observation("co2", "1", "612", "", "ppm", 1_796_000_000)


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        ({**NORTH, "temprature": 1}, "no key 'temprature'"),
        ({"type": "co2", "value": 1}, "lacks sensor"),
        ({**NORTH, "sensor": ["a"]}, "sensor must be text"),
        (3, "3 is no object"),
    ],
)
def test_a_bad_one_is_named_and_held_as_it_came_and_the_others_are_read(said: Any, detail: str) -> None:
    bad, good = json_pieces(objects(json.dumps([said, NORTH]).encode()))
    assert bad.why_not is not None
    assert detail in bad.why_not.detail
    assert json.loads(bad.payload) == said
    assert (good.why_not, list(good.said)) == (None, [SAID])


@pytest.mark.parametrize("body", [b"", b"21.3", b'"x"', b"{", b"\xff", b"[NaN]", b'{"value": 1e999}'])
def test_what_is_no_json_says_what_to_send(body: bytes) -> None:
    with pytest.raises(Refused, match=r'send \{"type"'):
        readings(body)


@given(st.binary())
def test_any_bytes_are_readings_or_refused(body: bytes) -> None:
    with suppress(Refused):
        readings(body)


@given(
    st.builds(
        Observation,
        st.text(),
        st.text(),
        st.one_of(st.none(), st.text(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)),
        st.text(),
        st.one_of(st.none(), st.text(min_size=1)),
        st.one_of(st.none(), st.integers(), st.text(min_size=1)),
        st.lists(st.text(min_size=1)).map(tuple),
    )
)
def test_what_is_written_as_json_is_read_as_the_same(said: Observation) -> None:
    assert reading(as_dict(said)) == said
