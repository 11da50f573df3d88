"""Pauses between attempts: doubled, bounded, spread, and short again after a success."""

from __future__ import annotations

from iotd.ops.backoff import Backoff


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(0.1, 1.0, jitter=lambda: 1.0)
    assert [backoff.next() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    backoff.reset()
    assert backoff.next() == 0.1


def test_a_pause_is_never_longer_than_the_longest_and_never_less_than_half() -> None:
    backoff = Backoff(60.0, 30.0)
    assert all(15.0 <= backoff.next() <= 30.0 for _ in range(5_000))
    assert len({Backoff(1.0, 1.0).next() for _ in range(10)}) > 1
