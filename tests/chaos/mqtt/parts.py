"""What there is of MQTT in a run: the broker, the witness on the way to it, and the daemon's tables for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from iotd.config import Address
from tests.chaos.hosts import Host
from tests.chaos.mqtt import topics
from tests.chaos.mqtt.broker import PORT, Broker
from tests.chaos.mqtt.link import Link


class Mqtt:
    """All of it.

    Attributes:
        link: where iotd looks for the broker.
        notes: what the link notes.
        files: worth keeping after a run.
        began: when it was made (monotonic seconds).
    """

    def __init__(self, folder: Path, host: Host, ours: str) -> None:
        """
        Args:
            folder: made; not on the daemon's disk.
            host: of the broker; ``ours``: the address of this process, which the daemon reaches.
        """
        folder.mkdir()
        self.broker = Broker(folder / "broker", host)
        self.notes = folder / "mqtt.jsonl"
        self.files = (self.notes, self.broker.log)
        self.began = monotonic()
        self._listens = Address(ours, PORT)
        self.link = Link(self.notes, self._listens, self.broker.address)

    @property
    def tables(self) -> Mapping[str, Any]:
        """The daemon's `[mqtt]`."""
        return topics.brokers(f"mqtt://{self._listens}")

    async def up(self, rooms: Sequence[str]) -> None:
        """Starts both, with messages that the broker has retained since before iotd ever came."""
        await self.broker.mend()
        for where in topics.kept(rooms):
            await self.broker.keep(where, b"21.5")
        await self.link.up()

    async def down(self) -> None:
        """Ends both."""
        if self.link.listens:
            await self.link.down()
        self.broker.down()
