"""Which archive the settings mean, to read."""

from __future__ import annotations

from iotd.archive.sinks.choose import make_sink
from iotd.archive.sinks.influxdb import InfluxSink
from iotd.config import Settings
from iotd.query.archives.base import Archive
from iotd.query.archives.embedded import EmbeddedArchive
from iotd.query.archives.influxdb import InfluxArchive


def open_archive(settings: Settings) -> Archive | None:
    """The archive that the daemon with these settings fills; None when there is none."""
    sink = make_sink(settings)
    if sink is None:
        return None
    if isinstance(sink, InfluxSink):
        return InfluxArchive(settings, sink)
    return EmbeddedArchive(settings.state / "archive.sqlite", sink.identity)
