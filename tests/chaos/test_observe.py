"""What a run sees of a client that is told to come again later."""

from __future__ import annotations

from tests.chaos.observe import Refusal


def test_refusals_count_together_until_one_message_is_acknowledged() -> None:
    refusal = Refusal()
    assert refusal.seconds(0) == 0
    for at in (100.0, 102.0, 105.5):
        refusal.told(at)
    assert refusal.seconds(0) == 5.5
    assert refusal.seconds(104.0) == 1.5  # a daemon that runs since then
    refusal.over()
    assert refusal.seconds(0) == 0


def test_a_client_that_was_told_nothing_for_a_while_begins_anew() -> None:
    refusal = Refusal()
    for at in (100.0, 120.0, 121.0):
        refusal.told(at)
    assert refusal.seconds(0) == 1
