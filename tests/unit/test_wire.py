"""Packing readings into TS.MADD."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from iotd.sensors import UNITS, Batch, Roster
from iotd.shards.connection import pack
from iotd.wire import ELEMENTS, Packer, elements, repack

ROSTER = Roster.of("salon", list(UNITS), 3)


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
def test_the_payload_is_the_resp_that_hiredis_would_pack(some: list[tuple[int, int, float]]) -> None:
    packed = Packer(ROSTER).pack(batch(some))
    commands = list(elements(packed.payload))
    assert packed.commands == len(commands) == -(-len(some) // ELEMENTS)
    assert all(len(command) <= ELEMENTS for command in commands)
    by_hiredis = b"".join(
        pack(["TS.MADD", *(part for e in command for part in (e.key, e.time, e.value))]) for command in commands
    )
    assert packed.payload == by_hiredis
    assert b"".join(repack(command) for command in commands) == by_hiredis


def test_more_different_values_than_are_remembered_are_packed_all_the_same() -> None:
    packer = Packer(ROSTER)
    n = 120_000
    given_batch = Batch(ROSTER, np.zeros(n, np.int32), np.arange(n, dtype=np.int64), np.arange(n, dtype=np.float64) / 7)
    out = [float(e.value) for command in elements(packer.pack(given_batch).payload) for e in command]
    assert out == given_batch.values.tolist()
