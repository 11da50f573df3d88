"""The tally: exact where it matters, bounded always."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iotd.pipeline.tally import Tally


@given(st.lists(st.integers(1, 50), max_size=300), st.lists(st.integers(0, 300), max_size=20))
def test_what_is_ahead_and_what_was_passed_add_up(counts: list[int], moves: list[int]) -> None:
    tally = Tally()
    for seq, count in enumerate(counts, 1):
        tally.add(seq, count)
    for seq in sorted(moves):
        tally.move(seq)
        assert tally.passed == sum(counts[:seq])
        assert tally.ahead == sum(counts[seq:])


def test_a_long_outage_takes_no_more_memory_and_counts_right_at_its_end() -> None:
    tally = Tally()
    for seq in range(1, 50_002):
        tally.add(seq, 3)
    assert len(tally._entries) <= 4_096
    assert tally.ahead == 150_003
    tally.move(40_000)
    assert 150_003 - 120_000 <= tally.ahead <= 150_003 - 110_000
    tally.move(50_001)
    assert (tally.ahead, tally.passed) == (0, 150_003)
