"""How the daemon starts, stops, logs and shows itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from iotd.config.sections.base import Port, Section
from iotd.config.values import Duration


class Logging(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """auto: for people on a terminal, JSON lines otherwise."""


class Startup(Section):
    """What becomes of a daemon whose shards are not there when it starts."""

    missing: Literal["wait", "fail"] = "wait"
    """A shard without a master: wait for it, while its readings wait in the log; or end, with exit code 69."""
    limit: Duration = timedelta(seconds=30)
    """How long a shard may take before it counts as missing."""
    shards: dict[str, Literal["wait", "fail"]] = {}
    """By location, where it differs from ``missing``."""


class Http(Section):
    """The HTTP server: metrics, health, status, the page."""

    enabled: bool = True
    host: str = "127.0.0.1"
    """Whoever reaches it may read everything it says, and change nothing."""
    port: Port = 9108
    """Moved by topology.port_offset, like all others."""


class Shutdown(Section):
    """How the daemon ends."""

    drain: Duration = timedelta(seconds=10)
    """After SIGTERM, how long the writers may go on until all is durable; the log keeps the rest."""
