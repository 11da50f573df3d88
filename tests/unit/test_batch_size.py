"""How many points a batch may have, as far as refusals and successes say it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iotd.archive.batchsize import BatchSize


def writes(size: BatchSize, limit: int, count: int) -> int:
    """Writes so many batches to a server with a limit; how many of them it refused."""
    refused = 0
    for _ in range(count):
        if size.now > limit:
            refused += 1
            size.too_large(size.now)
        else:
            size.taken(size.now)
    return refused


def test_a_limit_that_is_gone_is_forgotten_soon() -> None:
    size = BatchSize(5_000)
    writes(size, 1, 20)
    assert size.now <= 2
    writes(size, 5_000, 150)
    assert size.now == 5_000


@given(limit=st.integers(1, 9_999))
def test_a_limit_that_stays_costs_few_refusals(limit: int) -> None:
    size = BatchSize(5_000)
    assert writes(size, limit, 20_000) < 30
    assert size.now > min(limit, 5_000) // 2 or size.now == 1


def test_refusals_of_batches_under_way_count_once_and_small_batches_say_nothing() -> None:
    size = BatchSize(1_000)
    assert size.too_large(1_000)
    assert not size.too_large(1_000)
    for _ in range(100):
        size.taken(3)
    assert size.now == 500


def test_where_not_one_point_is_taken_their_number_is_not_the_reason() -> None:
    size = BatchSize(1_000)
    writes(size, 0, 15)
    size.unknown()
    assert size.now == 1_000
