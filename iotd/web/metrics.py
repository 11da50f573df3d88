"""/metrics: what a running daemon counts, read when it is scraped, so that nothing on a reading's way pays for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from iotd.ops.histogram import Histogram
from iotd.web.state import DaemonState, Watched

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SHARD = ["shard"]


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
        yield from _of_shards(state)
        yield from _of_archive(state, self._daemon.newest())
        yield _histogram(
            "iotd_write_latency_seconds",
            "From sending a batch to a shard to the last of its replies.",
            self._daemon.latencies(),
        )
        lag = self._daemon.loop_lag.seconds
        yield _histogram("iotd_loop_lag_seconds", "How much later than asked the event loop ran a timer.", lag)
        yield _gauge("iotd_loop_lag_max_seconds", "The largest loop lag since the last scrape.", lag.take_largest())


def _of_daemon(state: DaemonState) -> Iterator[Metric]:
    info = GaugeMetricFamily("iotd_build_info", "Always 1; the version is a label.", labels=["version"])
    info.add_metric([state.version], 1)
    yield info
    yield _gauge("iotd_running", "1 while the daemon takes readings.", float(state.phase == "running"))
    yield _gauge("iotd_tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))
    yield _gauge("iotd_memory_used_bytes", "Memory of the bounded queue in use.", state.memory_used)
    yield _gauge("iotd_memory_limit_bytes", "Capacity of the bounded queue (queue.memory).", state.memory_limit)
    yield _gauge("iotd_spool_failing", "1 while the spool can't be written.", float(state.spool_failing is not None))
    restarts = CounterMetricFamily("iotd_task_restarts", "Tasks that died and were started again.", labels=["task"])
    for task, count in sorted(state.restarts.items()):
        restarts.add_metric([task], count)
    yield restarts
    yield _counter("iotd_reloads", "Configurations that were taken over.", state.reload.count)
    yield _counter("iotd_reload_failures", "Configurations that were refused.", state.reload.failures)
    yield _gauge(
        "iotd_reload_last_successful",
        "0 when the last reload was refused, 1 otherwise.",
        float(state.reload.refused is None),
    )


def _of_readings(state: DaemonState) -> Iterator[Metric]:
    produced = CounterMetricFamily("iotd_readings_produced", "Readings that sources have handed over.", labels=_SHARD)
    written = CounterMetricFamily(
        "iotd_readings_written", "Readings that a master has taken; once more when written again.", labels=_SHARD
    )
    confirmed = CounterMetricFamily(
        "iotd_readings_confirmed", "Readings that master and replica hold for certain.", labels=_SHARD
    )
    rejected = CounterMetricFamily(
        "iotd_readings_rejected", "Readings that Redis refused for good: in the dead-letter file.", labels=_SHARD
    )
    waiting = GaugeMetricFamily("iotd_spool_readings", "Readings in the spool, not confirmed.", labels=_SHARD)
    batches = GaugeMetricFamily("iotd_lane_batches", "Batches handed over and not confirmed.", labels=_SHARD)
    spooled = GaugeMetricFamily("iotd_spool_bytes", "Bytes in the spool, not confirmed.", labels=_SHARD)
    memory = GaugeMetricFamily("iotd_lane_memory_bytes", "Bytes of the lane in memory.", labels=_SHARD)
    kept = GaugeMetricFamily("iotd_spool_kept_bytes", "Confirmed bytes, kept until archived.", labels=_SHARD)
    age = GaugeMetricFamily(
        "iotd_unconfirmed_age_seconds", "Since confirming last got on, while something waits for it.", labels=_SHARD
    )
    for s in state.shards:
        at = [s.location]
        produced.add_metric(at, s.handed)
        written.add_metric(at, s.written)
        confirmed.add_metric(at, s.confirmed)
        rejected.add_metric(at, s.refused)
        waiting.add_metric(at, s.depth.readings)
        batches.add_metric(at, s.depth.batches)
        spooled.add_metric(at, s.depth.bytes)
        memory.add_metric(at, s.depth.memory)
        kept.add_metric(at, s.depth.kept)
        age.add_metric(at, s.depth.age)
    yield from (produced, written, confirmed, rejected, waiting, batches, spooled, memory, kept, age)


def _of_shards(state: DaemonState) -> Iterator[Metric]:
    up = GaugeMetricFamily("iotd_shard_up", "1 while a master takes the shard's writes.", labels=_SHARD)
    settled = GaugeMetricFamily(
        "iotd_shard_settled", "1 while a majority of the Sentinels names that master.", labels=_SHARD
    )
    role = GaugeMetricFamily(
        "iotd_node_role", "1 for the role that the node says it has.", labels=["shard", "node", "role"]
    )
    lag = GaugeMetricFamily(
        "iotd_replica_lag_bytes", "How far the replica is behind in the replication stream.", labels=["shard", "node"]
    )
    replicas = GaugeMetricFamily("iotd_replicas_connected", "Replicas connected to the master.", labels=_SHARD)
    sentinels = GaugeMetricFamily("iotd_sentinels_answering", "Sentinels that answered lately.", labels=_SHARD)
    failovers = CounterMetricFamily("iotd_failovers", "Times that writing went over to another node.", labels=_SHARD)
    outage = CounterMetricFamily(
        "iotd_outage_seconds", "Time in which nothing was written, the present outage included.", labels=_SHARD
    )
    replayed = CounterMetricFamily("iotd_batches_replayed", "Batches that were written again.", labels=_SHARD)
    for s in state.shards:
        at = [s.location]
        up.add_metric(at, float(s.master is not None and s.trouble is None))
        settled.add_metric(at, float(s.settled))
        for node, said in s.roles.items():
            for one in ("master", "slave"):
                role.add_metric([s.location, node, "replica" if one == "slave" else one], float(said == one))
        for node, behind in s.lag.items():
            lag.add_metric([s.location, node], behind)
        replicas.add_metric(at, len(s.lag))
        sentinels.add_metric(at, len(s.sentinels))
        failovers.add_metric(at, s.failovers)
        outage.add_metric(at, s.outage_s)
        replayed.add_metric(at, s.replayed)
    yield from (up, settled, role, lag, replicas, sentinels, failovers, outage, replayed)


def _of_archive(state: DaemonState, newest: dict[str, int]) -> Iterator[Metric]:
    archive = state.archive
    if archive.sink is None:
        return
    yield _gauge("iotd_archive_up", "1 while the archive takes writes.", float(archive.trouble is None))
    yield _counter("iotd_archive_points", "Points that the archive acknowledged.", archive.archived)
    yield _counter("iotd_archive_rejected_points", "Points that it refused for good.", archive.rejected)
    yield _counter("iotd_archive_retries", "Writes that it did not take, tried again.", archive.retries)
    watermark = GaugeMetricFamily(
        "iotd_archive_watermark_seconds", "Time up to which the shard is archived, since the epoch.", labels=_SHARD
    )
    lag = GaugeMetricFamily(
        "iotd_archive_lag_seconds", "From the watermark to the newest reading handed over.", labels=_SHARD
    )
    points = GaugeMetricFamily(
        "iotd_archive_lag_points", "Readings handed over since the last whole pass began.", labels=_SHARD
    )
    left = GaugeMetricFamily(
        "iotd_archive_left_seconds", "Until the shard drops the oldest reading that is not archived.", labels=_SHARD
    )
    lost = CounterMetricFamily(
        "iotd_archive_lost_readings", "Readings that the shard dropped before they were archived.", labels=_SHARD
    )
    gaps = GaugeMetricFamily("iotd_archive_gaps", "Hours that differ, by the last verification.", labels=_SHARD)
    behind = {s.location: s.depth.unarchived for s in state.shards}
    for location, said in archive.locations.items():
        if said.watermark is not None:
            watermark.add_metric([location], said.watermark / 1000)
            lag.add_metric([location], max(0, newest.get(location, 0) - said.watermark) / 1000)
        if location in behind:
            points.add_metric([location], behind[location])
        if said.left_ms is not None:
            left.add_metric([location], said.left_ms / 1000)
        lost.add_metric([location], sum(loss.count for loss in said.lost))
        if said.gaps is not None:
            gaps.add_metric([location], said.gaps)
    yield from (watermark, lag, points, left, lost, gaps)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _histogram(name: str, text: str, found: Histogram | dict[str, Histogram]) -> Metric:
    by_shard = isinstance(found, dict)
    family = HistogramMetricFamily(name, text, labels=_SHARD if by_shard else [])
    for labels, histogram in [([n], h) for n, h in found.items()] if isinstance(found, dict) else [([], found)]:
        counts = histogram.cumulative
        buckets = [(str(bound), float(n)) for bound, n in zip((*histogram.bounds, "+Inf"), counts, strict=True)]
        family.add_metric(labels, buckets, histogram.sum)
    return family
