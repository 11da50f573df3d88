"""Which sink the settings ask for."""

from __future__ import annotations

from iotd.archive.sinks.base import Sink
from iotd.archive.sinks.embedded import EmbeddedSink
from iotd.archive.sinks.influxdb import InfluxSink
from iotd.config import Settings
from iotd.config.topology import topology


def influx_url(settings: Settings) -> str:
    """Where InfluxDB is: the one of the settings, else the one that the stack runs."""
    return settings.influxdb.url or f"http://{topology(settings).influxdb.address}"


def make_sink(settings: Settings) -> Sink | None:
    """The sink; None when nothing is to be archived.

    With ``archive.sink = "auto"``: InfluxDB where a URL is configured or the stack has set one up, else the embedded
    archive.
    """
    choice = settings.archive.sink
    if choice == "none":
        return None
    if choice == "auto":
        ours = settings.influxdb.url is not None or settings.stack_token.exists()
        choice = "influxdb" if ours else "embedded"
    if choice == "influxdb":
        return InfluxSink(settings, influx_url(settings))
    return EmbeddedSink(settings.state / "archive.sqlite")
