"""The exposition: names, buckets and labels stay as dashboards and alert rules know them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from iotd.health.silence import SilentSensor
from iotd.health.state import SourceState
from iotd.ops.histogram import SECONDS, write_latency
from iotd.ops.looplag import LoopLag
from iotd.web.metrics import _histogram, _of_sensors, _of_sources
from tests.unit.test_judge import daemon, holdings


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


def samples(metrics: list[Metric]) -> dict[str, float]:
    found = (line.rpartition(" ") for line in lines(metrics) if not line.startswith("#"))
    return {name: float(value) for name, _, value in found}


def test_each_source_says_what_it_said_and_what_of_it_is_held() -> None:
    sources = [SourceState("http", None, 10, 3, 2, 1, 5, 4.5), SourceState("meters", None, 0, 0, 0, 0, 0, None)]
    state = daemon(sources=sources, held={"http": holdings(count=3, bytes=250, let_go=7)}, held_limit=1_000)
    assert samples(list(_of_sources(state))) == {
        'iotd_source_readings_taken_total{source="http"}': 10,
        'iotd_source_readings_taken_total{source="meters"}': 0,
        'iotd_source_held_total{source="http"}': 3,
        'iotd_source_held_total{source="meters"}': 0,
        'iotd_source_without_value_total{source="http"}': 2,
        'iotd_source_without_value_total{source="meters"}': 0,
        'iotd_source_readings_timeless_total{source="http"}': 1,
        'iotd_source_readings_timeless_total{source="meters"}': 0,
        'iotd_source_readings_ambiguous_total{source="http"}': 5,
        'iotd_source_readings_ambiguous_total{source="meters"}': 0,
        'iotd_source_quiet_seconds{source="http"}': 4.5,
        'iotd_held{source="http"}': 3,
        'iotd_held_bytes{source="http"}': 250,
        'iotd_held_ratio{source="http"}': 0.25,
        'iotd_held_let_go{source="http"}': 7,
    }


def test_sensors_are_counted_by_location_and_none_has_a_label() -> None:
    silent = [SilentSensor("salon", str(n), ("temperature",), 0, 60_000, None, None) for n in range(3_000)]
    state = daemon(sensors={"salon": 5_000, "cuisine": 0}, silent_sensors=silent)
    assert samples(list(_of_sensors(state))) == {
        'iotd_sensors_known{shard="salon"}': 5_000,
        'iotd_sensors_known{shard="cuisine"}': 0,
        'iotd_sensors_silent{shard="salon"}': 3_000,
        'iotd_sensors_silent{shard="cuisine"}': 0,
    }
