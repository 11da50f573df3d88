"""A store in which a location was renamed answers as if it had always had its last name."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotd.model.aggregate import AGGREGATIONS
from iotd.model.buckets import HOUR, Run
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.stores.base import Found
from iotd.stores.points import Points
from iotd.stores.renamed import Former, RenamedStore
from tests.contract.memory import MemoryStore

T0 = 500_000 * HOUR
SPAN = 12 * HOUR
SERIES = Series("temperature", "bureau", "1")
WHAT = Selection(("bureau", "cuisine"), ("temperature",))
MINUTE = 60_000


@settings(max_examples=150, deadline=None)
@given(
    samples=st.dictionaries(st.integers(0, SPAN - 1), st.floats(-50, 50), max_size=60),
    renamed=st.lists(st.integers(0, 11), max_size=3, unique=True).map(sorted),
    first=st.integers(-HOUR, SPAN // 2),
    width=st.sampled_from([1, 7 * MINUTE, 30 * MINUTE, HOUR, 90 * MINUTE, 5 * HOUR, 24 * HOUR]),
    begin=st.integers(0, SPAN),
    length=st.integers(0, SPAN),
)
def test_every_answer_is_that_of_one_name(
    *, samples: dict[int, float], renamed: list[int], first: int, width: int, begin: int, length: int
) -> None:
    formers = [Former(f"former{n}", T0 + hour * HOUR - 1) for n, hour in enumerate(renamed)]
    width = max(width, SPAN // 200)
    count = -(-(SPAN + HOUR) // width)
    run = Run(T0 + first, T0 + first + count * width - 1, width)
    low = max(run.first, T0 + begin)
    high = min(low + length, run.last)
    other = Series("temperature", "cuisine", "1")

    async def compare() -> None:
        plain, inner = MemoryStore(), MemoryStore()
        store = RenamedStore(inner, {"bureau": formers})
        points = [
            Points.of(series, [(T0 + ms, repr(value).encode()) for ms, value in sorted(samples.items())])
            for series in (SERIES, other)
            if samples
        ]
        await plain.write(points)
        await store.write(points)
        assert sum(map(len, inner.held.values())) == 2 * len(samples)
        for former in formers:
            assert all(
                time <= former.until for s, its in inner.held.items() if s.location == former.name for time in its
            )
        _same(await store.samples(WHAT, low, high), await plain.samples(WHAT, low, high))
        assert await store.begins(WHAT, low, high) == await plain.begins(WHAT, low, high)
        assert await store.summaries("bureau", low, high) == await plain.summaries("bureau", low, high)
        for bucket in (30 * MINUTE, HOUR, 5 * HOUR):
            start = low // bucket * bucket
            assert await store.counts("bureau", start, high, bucket) == await plain.counts(
                "bureau", start, high, bucket
            )
        for aggregation in AGGREGATIONS:
            _same(
                await store.buckets(WHAT, aggregation, run, low, high),
                await plain.buckets(WHAT, aggregation, run, low, high),
            )

    asyncio.run(compare())


def _same(found: Found, wanted: Found) -> None:
    assert found.keys() == wanted.keys()
    for series, (times, values) in wanted.items():
        assert found[series][0].tolist() == times.tolist()
        assert found[series][1].tolist() == pytest.approx(values.tolist(), abs=1e-9)
