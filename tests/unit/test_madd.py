"""Packing readings into TS.MADD."""

from __future__ import annotations

import math
import re
from decimal import Decimal

import hiredis
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from iotd.shards import texts
from iotd.shards.connection import pack
from iotd.shards.madd import ELEMENTS, Commands, Packer

# of RFC 8259, but for its exponent's zeros in front, which it allows
JSON_NUMBER = re.compile(rb"-?(0|[1-9]\d*)(\.\d+)?(e[-+]?\d+)?")
KEYS = [b"sensor:temperature:salon:%d" % number for number in range(8, 12)]

doubles = st.floats(allow_nan=False, allow_infinity=False)
# what sensors give, and whatever else there is
values = st.one_of(
    doubles,
    st.decimals(-1000, 1000, places=3).map(float),
    st.floats(-1e-4, 1e-4),
    st.floats(1e15, 1e18),
    st.integers(-(2**60), 2**60).map(float),
)
readings = st.lists(
    st.tuples(st.integers(0, len(KEYS) - 1), st.integers(0, 4_102_444_800_000), values), max_size=2 * ELEMENTS
)


def packed(packer: Packer, some: list[tuple[int, int, float]]) -> Commands:
    series, times, found = zip(*some, strict=True) if some else ((), (), ())
    return packer.pack(np.array(series, np.int32), np.array(times, np.int64), np.array(found, np.float64))


def parsed(payload: bytes) -> list[list[bytes]]:
    parser = hiredis.Reader()
    parser.feed(payload)
    return list(iter(parser.gets, False))


@given(readings)
def test_every_reading_comes_out_as_it_went_in(some: list[tuple[int, int, float]]) -> None:
    commands = packed(Packer(KEYS), some)
    found = parsed(commands.payload)
    assert len(commands) == len(some)
    assert [len(span) for span in commands.spans()] == [len(command) // 3 for command in found]
    assert all(command[0] == b"TS.MADD" and 1 <= len(command) // 3 <= ELEMENTS for command in found)
    parts = [part for command in found for part in command[1:]]
    assert parts[0::3] == [KEYS[number] for number, _, _ in some]
    assert parts[1::3] == [b"%d" % time for _, time, _ in some]
    assert all(map(JSON_NUMBER.fullmatch, parts[2::3]))
    assert [repr(float(value)) for value in parts[2::3]] == [repr(value) for _, _, value in some]
    assert b"".join(map(pack, found)) == commands.payload


@given(st.lists(readings, min_size=2, max_size=5))
def test_a_packer_packs_each_batch_as_if_it_were_the_first(many: list[list[tuple[int, int, float]]]) -> None:
    packer = Packer(KEYS)
    for some in (*many, *many):
        assert packed(packer, some).payload == packed(Packer(KEYS), some).payload


def test_keys_may_be_added_while_it_packs() -> None:
    keys = KEYS[:1]
    packer = Packer(keys)
    assert parsed(packed(packer, [(0, 7, 1.0)]).payload)[0][1] == KEYS[0]
    keys.append(b"another one")
    assert parsed(packed(packer, [(1, 7, 1.0)]).payload)[0][1] == b"another one"


def test_times_of_different_widths_keep_their_order() -> None:
    times = [9, 10, 5, 1_790_000_000_000, 3, 999_999_999_999, 1_000_000_000_000]
    commands = packed(Packer(KEYS), [(0, time, 1.0) for time in times])
    assert [int(part) for command in parsed(commands.payload) for part in command[2::3]] == times


@given(st.lists(values, min_size=1))
def test_texts_are_of_one_width_and_read_back_to_the_same_doubles(some: list[float]) -> None:
    same_as_read(some)


@given(st.lists(st.decimals(-1000, 1000, places=3), min_size=1))
def test_what_sensors_round_to_is_eight_bytes_wide(some: list[Decimal]) -> None:
    assert same_as_read(list(map(float, some))) == 8 or any(abs(value) >= 1000 for value in some)


def test_each_hundredth_within_a_sensors_range_is_text_of_itself() -> None:
    assert same_as_read([n / 100 for n in range(-99_999, 100_000)] + [-0.0]) == 8


def test_every_exponent_of_a_double() -> None:
    powers = [math.ldexp(1 / 3, n) for n in range(-1074, 1024)] + [10.0**n for n in range(-308, 309)]
    same_as_read(powers + [-power for power in powers])
    for value in powers:  # alone, none is widened to another's width
        same_as_read([value])


def same_as_read(some: list[float]) -> int:
    """Asserts that the values' texts are JSON numbers of one width, which is returned, and mean these values."""
    found = [text.tobytes() for text in texts.of_values(np.array(some))]
    assert all(JSON_NUMBER.fullmatch(text) for text in found)
    assert list(map(repr, map(float, found))) == list(map(repr, some))
    (width,) = set(map(len, found))
    return width
