"""MQTT as the witness and the publishers speak it, written apart from iotd's own: two readers rarely err alike.

Only what they need of 3.1.1 and 5: whole packets, and what is in those of which something has to be known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

V311, V5 = 4, 5
CONNECT, CONNACK, PUBLISH, PUBACK, PINGREQ, PINGRESP = 1, 2, 3, 4, 12, 13
"""Types of packets."""
PING = b"\xc0\x00"
_MOST = 4 << 20
"""Bytes of a packet: nobody here sends more."""


class Broken(Exception):
    """It is no MQTT."""


class Packet(NamedTuple):
    """A whole packet: its type, the flags beside it, what is behind the length, and all of it as it came."""

    type: int
    flags: int
    body: bytes
    raw: bytes


class Published(NamedTuple):
    """A PUBLISH; ``packet`` is its id, 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    again: bool
    packet: int


class Hello(NamedTuple):
    """A CONNECT; ``clean``: no session of before is wanted."""

    version: int
    client: str
    clean: bool


class Packets:
    """Cuts what comes into packets."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Those that are whole by now.

        Raises:
            Broken: it is no MQTT.
        """
        self._rest += data
        while (found := self._first()) is not None:
            del self._rest[: len(found.raw)]
            yield found

    def _first(self) -> Packet | None:
        head = bytes(self._rest[1:5])
        if all(byte >= 0x80 for byte in head):
            if len(head) == 4:
                raise Broken("a length of five bytes")
            return None
        length, behind = _length(head)
        if length > _MOST:
            raise Broken(f"a packet of {length} bytes")
        begin = 1 + len(head) - len(behind)
        raw = bytes(self._rest[: begin + length])
        return Packet(raw[0] >> 4, raw[0] & 0x0F, raw[begin:], raw) if len(raw) == begin + length else None


def published(packet: Packet, version: int) -> Published:
    """What a PUBLISH says.

    Raises:
        Broken: it says nothing.
    """
    flags = packet.flags
    qos = flags >> 1 & 3
    topic, rest = _text(packet.body)
    number = 0
    if qos:
        number, rest = _number(rest)
    if version == V5:
        size, behind = _length(rest)
        if size > len(behind):
            raise Broken("properties that are cut off")
        rest = behind[size:]
    return Published(topic, rest, qos, bool(flags & 1), bool(flags & 8), number)


def acknowledged(packet: Packet) -> int:
    """The packet id of a PUBACK.

    Raises:
        Broken: it has none.
    """
    return _number(packet.body)[0]


def hello(packet: Packet) -> Hello:
    """What a CONNECT says.

    Raises:
        Broken: it says nothing.
    """
    name, rest = _text(packet.body)
    if name != "MQTT" or len(rest) < 4:
        raise Broken(f"a CONNECT of {name!r}")
    version, flags, rest = rest[0], rest[1], rest[4:]
    if version == V5:
        size, behind = _length(rest)
        rest = behind[size:]
    return Hello(version, _text(rest)[0], bool(flags & 2))


def let_in(packet: Packet) -> tuple[int, bool]:
    """Of a CONNACK the code, 0 for welcome, and whether the broker has kept the session.

    Raises:
        Broken: it says neither.
    """
    if len(packet.body) < 2:
        raise Broken("a CONNACK that is cut off")
    return packet.body[1], bool(packet.body[0] & 1)


# ── what clients send ──


def connect(client: str, *, version: int = V311, clean: bool = True, keep_alive: int = 60) -> bytes:
    """CONNECT; a session that is not clean stays."""
    properties = b"" if version == V311 else b"\x00" if clean else b"\x05\x11\xff\xff\xff\xff"
    head = _said("MQTT") + bytes((version, clean << 1)) + keep_alive.to_bytes(2, "big")
    return _packet(CONNECT << 4, head + properties + _said(client))


def publish(
    topic: str, payload: bytes, *, qos: int = 1, packet: int = 0, retain: bool = False, again: bool = False
) -> bytes:
    """PUBLISH of 3.1.1."""
    number = packet.to_bytes(2, "big") if qos else b""
    return _packet(PUBLISH << 4 | again << 3 | qos << 1 | retain, _said(topic) + number + payload)


def puback(packet: int) -> bytes:
    """PUBACK of both versions."""
    return _packet(PUBACK << 4, packet.to_bytes(2, "big"))


def _packet(first: int, body: bytes) -> bytes:
    length, rest = bytearray(), len(body)
    while True:
        rest, low = rest >> 7, rest & 0x7F
        length.append(low | (0x80 if rest else 0))
        if not rest:
            return bytes((first,)) + bytes(length) + body


def _said(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _text(data: bytes) -> tuple[str, bytes]:
    size, rest = _number(data)
    if size > len(rest):
        raise Broken("a text that is cut off")
    try:
        return rest[:size].decode(), rest[size:]
    except UnicodeDecodeError:
        raise Broken("a text that is no UTF-8") from None


def _number(data: bytes) -> tuple[int, bytes]:
    if len(data) < 2:
        raise Broken("a number that is cut off")
    return int.from_bytes(data[:2], "big"), data[2:]


def _length(data: bytes) -> tuple[int, bytes]:
    number = 0
    for place, byte in enumerate(data[:4]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, data[place + 1 :]
    raise Broken("a length that is cut off")
