"""Another client that connects with the id of a source, as a copy of the state directory would."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from iotd.config import Address
from tests.chaos.mqtt import wire
from tests.chaos.mqtt.wire import Packets

_AGAIN_S = 0.3


async def intrude(broker: Address, client: str, version: int, *, clean: bool, acknowledges: bool, again: bool) -> None:
    """Connects until cancelled.

    Args:
        clean: it begins a session of its own, and so ends that of the source.
        acknowledges: it takes the messages, which the source never gets then.
        again: it connects again whenever its connection is ended; otherwise once.
    """
    while True:
        with suppress(OSError):
            await _session(broker, wire.connect(client, version=version, clean=clean), version, acknowledges)
        if not again:
            return
        await asyncio.sleep(_AGAIN_S)


async def _session(broker: Address, hello: bytes, version: int, acknowledges: bool) -> None:
    reader, writer = await asyncio.open_connection(*broker)
    try:
        writer.write(hello)
        packets = Packets()
        while data := await reader.read(65_536):
            for packet in packets.feed(data):
                if packet.type == wire.PUBLISH and acknowledges:
                    one = wire.published(packet, version)
                    if one.qos:
                        writer.write(wire.puback(one.packet))
    finally:
        writer.transport.abort()
