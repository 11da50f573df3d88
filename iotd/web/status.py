"""/status: what `iotd status --output json` prints, by the daemon itself."""

from __future__ import annotations

import asyncio
from time import monotonic

from iotd.config.topology import topology
from iotd.health.state import Watched
from iotd.ops.control import to_json
from iotd.query.status import shards_status

_FRESH_S = 1.0


class StatusDocument:
    """Asks every node, at most once a second however many ask us."""

    def __init__(self, daemon: Watched) -> None:
        self._daemon = daemon
        self._turn = asyncio.Lock()
        self._made = 0.0
        self._text = ""

    async def text(self) -> str:
        """The JSON: ``shards`` as their servers answer, and ``daemon``."""
        async with self._turn:
            if not self._text or monotonic() - self._made > _FRESH_S:
                settings = self._daemon.settings
                found = await shards_status(settings, topology(settings))
                self._text = to_json(
                    {"shards": found.shards, "retired": settings.retired, "daemon": self._daemon.state()}
                )
                self._made = monotonic()
            return self._text
