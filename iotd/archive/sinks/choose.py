"""Which sink the settings ask for."""

from __future__ import annotations

from iotd.archive.sinks.base import Sink
from iotd.archive.sinks.embedded import EmbeddedSink
from iotd.settings import Settings
from iotd.topology import topology


def make_sink(settings: Settings) -> Sink | None:
    """The sink; None when nothing is to be archived.

    With ``archive.sink = "auto"``: InfluxDB where a URL is configured or the stack has set one up, else the embedded
    archive.
    """
    choice = settings.archive.sink
    if choice == "none":
        return None
    url = settings.influxdb.url or f"http://{topology(settings).influxdb.address}"
    if choice == "auto":
        ours = settings.influxdb.url is not None or settings.stack_token.exists()
        choice = "influxdb" if ours else "embedded"
    if choice == "influxdb":
        # its client is 14 MB and half a second, which the embedded archive need not pay
        from iotd.archive.sinks.influxdb import InfluxSink  # noqa: PLC0415

        return InfluxSink(settings, url)
    return EmbeddedSink(settings.state / "archive.sqlite")
