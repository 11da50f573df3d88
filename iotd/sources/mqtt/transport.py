"""The way to a broker: TCP, TLS or websockets."""

from __future__ import annotations

import asyncio
import ssl

from iotd.config.sections.mqtt import Broker
from iotd.ops.systemerrors import said
from iotd.ops.tls import tls_context
from iotd.sources.mqtt.link import CHUNK, BrokerAway, BrokerRefuses, Link

_CONNECT_S = 10.0


async def open_link(broker: Broker) -> Link:
    """Connects.

    Raises:
        BrokerAway: nothing answers there.
        BrokerRefuses: the certificate is not trusted, a file of ours can't be used, or it is no websocket.
    """
    where = f"{broker.parts.hostname}:{broker.port}"
    try:
        context = await tls_context(broker) if broker.secure else None
    except OSError as e:  # ssl.SSLError is one
        raise BrokerRefuses(f"tls_ca_file, tls_cert_file or tls_key_file can't be used: {said(e)}") from None
    try:
        async with asyncio.timeout(_CONNECT_S):
            if broker.parts.scheme in ("ws", "wss"):
                from iotd.sources.mqtt.websocket import open_websocket  # noqa: PLC0415  # only where it is used

                return await open_websocket(broker, context)
            host = broker.parts.hostname
            return _Stream(*await asyncio.open_connection(host, broker.port, ssl=context, limit=CHUNK))
    except TimeoutError:
        raise BrokerAway(f"{where}: does not answer within {_CONNECT_S:.0f} s") from None
    except ssl.SSLCertVerificationError as e:
        raise BrokerRefuses(f"{where}: its certificate is not trusted ({e.verify_message}); see tls_ca_file") from None
    except ssl.SSLError as e:
        raise BrokerRefuses(f"{where}: TLS fails ({e.reason or e}); is it a port with TLS?") from None
    except OSError as e:
        hint = "; is it a port with TLS?" if context and isinstance(e, ConnectionResetError) else ""
        raise BrokerAway(f"{where}: can't be reached ({said(e)}){hint}") from None


class _Stream:
    """TCP, also with TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(CHUNK)

    def write(self, data: bytes) -> None:
        if not self._writer.is_closing():  # uvloop raises RuntimeError then
            self._writer.write(data)

    async def close(self) -> None:
        self._writer.close()
        try:
            async with asyncio.timeout(2):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()
