"""The daemon's histograms: prometheus_client's, in no registry, so that a scrape collects them from what measures."""

from __future__ import annotations

from prometheus_client import Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds, each included."""


def write_latency() -> Histogram:
    """Of one shard; the scrape gives it the shard's label."""
    text = "From sending a batch to a shard to the last of its replies."
    return Histogram("iotd_write_latency_seconds", text, buckets=SECONDS, registry=None)


def loop_lag() -> Histogram:
    """Of the event loop."""
    text = "How much later than asked the event loop ran a timer."
    return Histogram("iotd_loop_lag_seconds", text, buckets=SECONDS, registry=None)
