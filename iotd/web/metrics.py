"""/metrics: what a running daemon counts, read when it is scraped, so that nothing on a reading's way pays for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)  # fmt: skip
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from iotd.health.conditions import Condition
from iotd.health.state import DaemonState, SourceState, Watched
from iotd.shards.service import ShardState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Value = float | Mapping[str, float]
"""Of a metric: one, or one for each value of its label."""


class Metrics:
    """The exposition of one daemon."""

    def __init__(self, daemon: Watched) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._registry.register(_Collector(daemon))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _Collector(Collector):
    def __init__(self, daemon: Watched) -> None:
        self._daemon = daemon

    def describe(self) -> list[Metric]:
        return []  # nothing is collected at registration: the daemon may not have started yet

    def collect(self) -> Iterator[Metric]:
        state = self._daemon.state()
        yield from _of_daemon(state)
        yield from _of_readings(state)
        yield from _of_sources(state)
        yield from _of_sensors(state)
        yield from _of_shards(state)
        yield from _of_archive(state, self._daemon.newest())
        yield from _histogram({("shard", name): one for name, one in self._daemon.latencies().items()})
        lag = self._daemon.loop_lag
        yield from _histogram({None: lag.seconds})
        yield _gauge("iotd_loop_lag_max_seconds", "The largest loop lag since the last scrape.", lag.take_largest())


def _of_daemon(state: DaemonState) -> Iterator[Metric]:
    yield _gauge("iotd_build_info", "Always 1; the version is a label.", {state.version: 1}, "version")
    yield _gauge("iotd_running", "1 while the daemon takes readings.", state.phase == "running")
    yield _gauge("iotd_tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))
    yield _gauge("iotd_memory_used_bytes", "Readings in memory, on their way.", state.memory_used)
    yield _gauge("iotd_memory_limit_bytes", "How much that may be (log.memory).", state.memory_limit)
    yield _gauge("iotd_log_failing", "1 while the log can't be written.", state.log_failing is not None)
    yield _gauge(
        "iotd_log_damaged_places", "Places of the log that could not be read since the start.", len(state.damage)
    )
    yield _conditions(state.conditions)
    yield _gauge("iotd_clock_doubted", "1 while the machine's time is not gone by.", state.clock.doubt is not None)
    restarts = dict(sorted(state.restarts.items()))
    yield _counter("iotd_task_restarts", "Tasks that died and were started again.", restarts, "task")
    yield _counter("iotd_reloads", "Configurations that were taken over.", state.reload.count)
    yield _counter("iotd_reload_failures", "Configurations that were refused.", state.reload.failures)
    taken = state.reload.refused is None
    yield _gauge("iotd_reload_last_successful", "0 when the last reload was refused, 1 otherwise.", taken)


def _of_readings(state: DaemonState) -> Iterator[Metric]:
    counter, gauge = _by_shard(_counter, state), _by_shard(_gauge, state)
    yield counter("iotd_readings_taken", "Readings that sources have handed over.", lambda s: s.taken)
    yield counter(
        "iotd_readings_acknowledged",
        "Readings that a master has answered for; once more when written again.",
        lambda s: s.acknowledged,
    )
    yield counter("iotd_readings_durable", "Readings on the disks of master and replica.", lambda s: s.durable)
    yield counter("iotd_readings_held", "Readings that a guard or Redis refused: they are held.", lambda s: s.held)
    yield counter(
        "iotd_readings_expired", "Readings older than the shard keeps: straight to the archive.", lambda s: s.expired
    )
    yield gauge("iotd_log_waiting_readings", "Readings in the log, not durable yet.", lambda s: s.waiting.readings)
    yield gauge("iotd_log_waiting_batches", "Batches in the log, not durable yet.", lambda s: s.waiting.batches)
    yield gauge("iotd_log_waiting_bytes", "Bytes in the log, not durable yet.", lambda s: s.waiting.bytes)
    yield gauge("iotd_log_unarchived_readings", "Readings in the log, not archived.", lambda s: s.unarchived.readings)
    yield gauge("iotd_log_unarchived_bytes", "Bytes in the log, not archived.", lambda s: s.unarchived.bytes)
    yield gauge("iotd_log_full", "1 while the log is at its limit, and sources wait.", lambda s: s.full)
    yield gauge(
        "iotd_log_waiting_seconds",
        "Seconds since readings last became durable while batches are pending.",
        lambda s: s.age,
    )


def _of_sources(state: DaemonState) -> Iterator[Metric]:
    sources = state.sources

    def counter(name: str, what: str, count: Callable[[SourceState], int]) -> Metric:
        return _counter(name, what, {source.name: count(source) for source in sources}, "source")

    yield counter("iotd_source_readings_taken", "Readings taken of a source.", lambda s: s.taken)
    yield counter("iotd_source_held", "Readings or messages of a source that were held.", lambda s: s.held)
    yield counter(
        "iotd_source_without_value", "Messages of a source that said that there is no value.", lambda s: s.nothing
    )
    yield counter(
        "iotd_source_readings_timeless",
        "Readings of a source that got the time of their arrival.",
        lambda s: s.timeless,
    )
    yield counter(
        "iotd_source_readings_ambiguous",
        "Readings of a source in the hour that a clock change repeats, by local time: the first was taken.",
        lambda s: s.ambiguous,
    )
    messages = CounterMetricFamily(
        "iotd_source_messages", "Messages of a source, by what they were.", labels=["source", "what"]
    )
    for source in sources:
        for what, count in source.messages.items():
            messages.add_metric([source.name, what], count)
    yield messages
    quiet = {s.name: s.quiet_s for s in sources if s.quiet_s is not None}
    yield _gauge("iotd_source_quiet_seconds", "Seconds since a source last said something.", quiet, "source")
    held = state.held.items()
    yield _gauge("iotd_held", "What is held of a source now.", {name: its.count for name, its in held}, "source")
    yield _gauge("iotd_held_bytes", "Bytes that it takes.", {name: its.bytes for name, its in held}, "source")
    yield _gauge(
        "iotd_held_ratio",
        "Share of what may be held of a source (intake.held_limit).",
        {name: its.bytes / state.held_limit for name, its in held},
        "source",
    )
    yield _gauge(
        "iotd_held_let_go",
        "What that limit has let go of, since `iotd acknowledge held_let_go`.",
        {name: its.let_go for name, its in held},
        "source",
    )


def _of_sensors(state: DaemonState) -> Iterator[Metric]:
    yield _gauge("iotd_sensors_known", "Sensors that have ever spoken.", state.sensors)
    silent = Counter(one.location for one in state.silent_sensors)
    yield _gauge(
        "iotd_sensors_silent",
        "Sensors that have been silent for longer than they used to.",
        {name: silent[name] for name in state.sensors},
    )


def _of_shards(state: DaemonState) -> Iterator[Metric]:
    counter, gauge = _by_shard(_counter, state), _by_shard(_gauge, state)
    yield gauge(
        "iotd_shard_up",
        "1 while a master takes the shard's writes.",
        lambda s: s.master is not None and s.trouble is None,
    )
    yield gauge("iotd_shard_settled", "1 while a majority of the Sentinels names that master.", lambda s: s.settled)
    role = GaugeMetricFamily(
        "iotd_node_role", "1 for the role that the node says it has.", labels=["shard", "node", "role"]
    )
    lag = GaugeMetricFamily(
        "iotd_replica_lag_bytes", "How far the replica is behind in the replication stream.", labels=["shard", "node"]
    )
    for s in state.shards:
        for node, said in s.roles.items():
            role.add_metric([s.location, node, "master"], said == "master")
            role.add_metric([s.location, node, "replica"], said == "slave")
        for node, behind in s.lag.items():
            lag.add_metric([s.location, node], behind)
    yield from (role, lag)
    clock = GaugeMetricFamily(
        "iotd_node_clock_ahead_seconds",
        "By how much the node's clock is ahead of the daemon's machine.",
        labels=["shard", "node"],
    )
    for s in state.shards:
        for node, ahead in s.clocks.items():
            clock.add_metric([s.location, node], ahead / 1000)
    yield clock
    yield gauge("iotd_replicas_connected", "Replicas connected to the master.", lambda s: len(s.lag))
    yield gauge("iotd_sentinels_answering", "Sentinels that answered lately.", lambda s: len(s.sentinels))
    yield counter("iotd_failovers", "Failovers: times that writing went over to another node.", lambda s: s.failovers)
    yield counter(
        "iotd_outage_seconds", "Time in which nothing was written, the present outage included.", lambda s: s.outage_s
    )
    yield counter("iotd_batches_replayed", "Batches that were written again.", lambda s: s.replayed)


def _of_archive(state: DaemonState, newest: dict[str, int]) -> Iterator[Metric]:
    archive = state.archive
    if archive.store is None:
        return
    yield _gauge("iotd_archive_up", "1 while the archive takes writes.", archive.trouble is None)
    yield _counter("iotd_archive_points", "Points that the archive acknowledged.", archive.archived)
    yield _counter("iotd_archive_rejected_points", "Points that it refused for good.", archive.rejected)
    yield _counter("iotd_archive_retries", "Writes that it did not take, tried again.", archive.retries)
    locations = archive.locations.items()
    marks = {name: one.watermark for name, one in locations if one.watermark is not None}
    yield _gauge(
        "iotd_archive_watermark_seconds",
        "Time up to which the shard is archived, since the epoch.",
        {name: mark / 1000 for name, mark in marks.items()},
    )
    yield _gauge(
        "iotd_archive_lag_seconds",
        "From the watermark to the newest reading taken.",
        {name: max(0, newest.get(name, 0) - mark) / 1000 for name, mark in marks.items()},
    )
    yield _gauge(
        "iotd_archive_lag_points",
        "Readings in the log that are not archived.",
        {s.location: s.unarchived.readings for s in state.shards if s.location in archive.locations},
    )
    yield _gauge(
        "iotd_archive_left_seconds",
        "Until the shard drops the oldest reading that is not archived.",
        {name: one.left_ms / 1000 for name, one in locations if one.left_ms is not None},
    )
    yield _counter(
        "iotd_archive_lost_readings",
        "Readings that the shard dropped before they were archived.",
        {name: sum(loss.count for loss in one.lost) for name, one in locations},
    )
    gaps = {name: one.gaps for name, one in locations if one.gaps is not None}
    yield _gauge("iotd_archive_gaps", "Hours that differ, by the last verification.", gaps)


def _conditions(present: Sequence[Condition]) -> Metric:
    counts = Counter((one.name, one.severity, one.location or "") for one in present)
    metric = GaugeMetricFamily(
        "iotd_condition", "What `iotd status` lists: 1 for each while it lasts.", labels=["name", "severity", "shard"]
    )
    for labels, count in counts.items():
        metric.add_metric(labels, count)
    return metric


def _gauge(name: str, text: str, value: Value, label: str = "shard") -> Metric:
    return _metric(GaugeMetricFamily, name, text, value, label)


def _counter(name: str, text: str, value: Value, label: str = "shard") -> Metric:
    return _metric(CounterMetricFamily, name, text, value, label)


def _by_shard(
    make: Callable[[str, str, Mapping[str, float]], Metric], state: DaemonState
) -> Callable[[str, str, Callable[[ShardState], float]], Metric]:
    return lambda name, text, value: make(name, text, {s.location: value(s) for s in state.shards})


def _metric(
    family: type[GaugeMetricFamily | CounterMetricFamily], name: str, text: str, value: Value, label: str
) -> Metric:
    if not isinstance(value, Mapping):
        return family(name, text, value=value)
    metric = family(name, text, labels=[label])
    for of, one in value.items():
        metric.add_metric([of], one)
    return metric


def _histogram(found: Mapping[tuple[str, str] | None, Histogram]) -> Iterator[Metric]:
    """One family of histograms that have the same name, each with its label."""
    family: Metric | None = None
    for label, histogram in found.items():
        for one in histogram.collect():
            family = family or Metric(one.name, one.documentation, one.type)
            for sample in one.samples:
                if not sample.name.endswith("_created"):  # no other metric of ours says when it began
                    family.add_sample(sample.name, dict([label] if label else []) | sample.labels, sample.value)
    if family is not None:
        yield family
