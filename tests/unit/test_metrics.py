"""Histograms in the exposition: names, buckets and labels stay as dashboards and alert rules know them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from iotd.ops.histogram import SECONDS, write_latency
from iotd.ops.looplag import LoopLag
from iotd.web.metrics import _histogram


class Exposed:
    """A collector of metrics that are there already."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def lines(metrics: list[Metric]) -> list[str]:
    registry = CollectorRegistry()
    registry.register(Exposed(metrics))
    return generate_latest(registry).decode().splitlines()


def test_a_histogram_of_each_shard_is_one_family_that_counts_a_value_under_every_bound_it_does_not_exceed() -> None:
    salon, cuisine = write_latency(), write_latency()
    for value in (0.001, 0.5, 0.7, 11.0):
        salon.observe(value)
    told = lines(list(_histogram({("shard", "salon"): salon, ("shard", "cuisine"): cuisine})))
    assert told[:2] == [
        "# HELP iotd_write_latency_seconds From sending a batch to a shard to the last of its replies.",
        "# TYPE iotd_write_latency_seconds histogram",
    ]
    counts = [1] * 8 + [2] + [3] * 4
    assert told[2:18] == [
        *(
            f'iotd_write_latency_seconds_bucket{{le="{bound}",shard="salon"}} {count:.1f}'
            for bound, count in zip(SECONDS, counts, strict=True)
        ),
        'iotd_write_latency_seconds_bucket{le="+Inf",shard="salon"} 4.0',
        'iotd_write_latency_seconds_count{shard="salon"} 4.0',
        'iotd_write_latency_seconds_sum{shard="salon"} 12.201',
    ]
    assert len(told) == 2 + 16 + 16  # no series beyond these, so none of when it was created


def test_the_largest_lag_is_told_once() -> None:
    lag = LoopLag()
    lag.largest = 0.3
    assert (lag.take_largest(), lag.take_largest()) == (0.3, 0.0)


def test_no_shard_no_family() -> None:
    assert list(_histogram({})) == []
