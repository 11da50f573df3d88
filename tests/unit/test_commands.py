"""Packing readings into TS.MADD."""

from __future__ import annotations

import re
from decimal import Decimal

import hiredis
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.roster import Batch, Roster
from iotd.shards.connection import pack
from iotd.wire.commands import ELEMENTS, Packer, elements, repack
from iotd.wire.decimals import texts

KINDS = ("temperature", "humidity", "air_quality")

# of RFC 8259, but for its exponent's zeros in front, which it allows
JSON_NUMBER = re.compile(rb"-?(0|[1-9]\d*)(\.\d+)?(e[-+]\d+)?")
ROSTER = Roster.of("salon", list(KINDS), 3)


def batch(readings: list[tuple[int, int, float]]) -> Batch:
    readings = sorted(readings, key=lambda r: r[1])
    return Batch(
        ROSTER,
        np.array([r[0] for r in readings], np.int32),
        np.array([r[1] for r in readings], np.int64),
        np.array([r[2] for r in readings], np.float64),
    )


readings = st.lists(
    st.tuples(
        st.integers(0, len(ROSTER) - 1),
        st.integers(0, 4_102_444_800_000),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    min_size=1,
    max_size=3 * ELEMENTS,
)


@given(readings)
def test_every_reading_comes_out_as_it_went_in(some: list[tuple[int, int, float]]) -> None:
    given_batch = batch(some)
    packed = Packer(ROSTER).pack(given_batch)
    out = [e for command in elements(packed.payload) for e in command]
    assert [e.index for e in out] == list(range(len(some)))
    assert [e.key for e in out] == [ROSTER[int(s)].key for s in given_batch.series]
    assert [e.time for e in out] == given_batch.times.tolist()
    assert [float(e.value) for e in out] == given_batch.values.tolist()
    assert (packed.count, packed.first, packed.last) == (len(some), out[0].time, out[-1].time)


@given(readings)
def test_the_payload_is_resp_of_commands_of_at_most_256_readings(some: list[tuple[int, int, float]]) -> None:
    packed = Packer(ROSTER).pack(batch(some))
    parser = hiredis.Reader()
    parser.feed(packed.payload)
    commands = list(iter(parser.gets, False))
    read = list(elements(packed.payload))
    assert packed.commands == len(commands) == len(read)
    for command, found in zip(commands, read, strict=True):
        name, *parts = command
        assert name == b"TS.MADD"
        assert 1 <= len(found) <= ELEMENTS
        keys, times, values = parts[0::3], parts[1::3], parts[2::3]
        assert [e.key.encode() for e in found] == keys
        assert [b"%d" % e.time for e in found] == times
        assert [e.value for e in found] == [repr(float(value)) for value in values]
        assert repack(found) == pack(["TS.MADD", *(part for e in found for part in (e.key, e.time, e.value))])


@given(st.lists(readings, min_size=2, max_size=5))
def test_a_packer_packs_each_batch_as_if_it_were_the_first(many: list[list[tuple[int, int, float]]]) -> None:
    packer = Packer(ROSTER)
    for some in (*many, *many):
        assert packer.pack(batch(some)) == Packer(ROSTER).pack(batch(some))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_texts_are_of_one_width_and_read_back_to_the_same_doubles(values: list[float]) -> None:
    same_as_read(values)


@given(st.lists(st.decimals(-1000, 1000, places=3), min_size=1))
def test_what_sensors_round_to_is_eight_bytes_wide(values: list[Decimal]) -> None:
    assert same_as_read(list(map(float, values))) == 8 or any(abs(value) >= 1000 for value in values)


def test_each_hundredth_within_a_sensors_range_is_text_of_itself() -> None:
    assert same_as_read([n / 100 for n in range(-99_999, 100_000)] + [-0.0]) == 8


def same_as_read(values: list[float]) -> int:
    """Asserts that the values' texts are JSON numbers of one width, which is returned, and mean these values."""
    found = [text.tobytes() for text in texts(np.array(values))]
    assert all(JSON_NUMBER.fullmatch(text) for text in found)
    assert list(map(repr, map(float, found))) == list(map(repr, values))
    (width,) = set(map(len, found))
    return width
