"""Reads the packets that a broker sends, however they are cut, within a bound of memory."""

from __future__ import annotations

from iotd.sources.mqtt.packets import (
    FOREVER,
    V5,
    Connack,
    Disconnect,
    Packet,
    Pong,
    ProtocolBroken,
    Puback,
    Publish,
    Suback,
    reason_of,
)

_HEAD = 160 * 1024
"""Bytes of a packet too long that are looked at: topic and packet id are within them, whatever they are."""
_CONTROL = 256 * 1024
"""Bytes that a packet which is no PUBLISH may have."""
_TOPICS = 100_000
"""Topics whose text is known."""


class Decoder:
    """Finds the packets in what is received, however it is cut.

    A PUBLISH longer than ``limit`` bytes is not kept: its beginning is given once all of it has passed.
    """

    def __init__(self, version: int, limit: int) -> None:
        self.version = version
        self._limit = limit
        self._rest = b""
        self._passing: _Passing | None = None
        self._topics: dict[bytes, str] = {}

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that are whole by now.

        Raises:
            ProtocolBroken: it is no MQTT.
        """
        found: list[Packet] = []
        if self._passing is not None:
            data = self._pass(data, found)
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while end - at >= 2:
            first, length, body = data[at], data[at + 1], at + 2
            if length & 0x80:
                if (told := _long(data, at + 1)) is None:
                    break
                length, body = told
            last = body + length
            if last <= end and (first & 0xF0 != 0x30 or length <= self._limit):
                found.append(
                    self._publish(first, data, body, last)
                    if first & 0xF0 == 0x30
                    else self._other(first, data[body:last])
                )
                at = last
                continue
            if first & 0xF0 != 0x30 and length > _CONTROL:
                raise ProtocolBroken(f"a packet of type {first >> 4} with {length} bytes is no MQTT")
            if length > self._limit:
                self._passing = _Passing(first, length)
                at, data = 0, self._pass(data[body:], found)  # nothing is left where it still passes
                end = len(data)
                continue
            break
        self._rest = data[at:]
        return found

    def _pass(self, data: bytes, found: list[Packet]) -> bytes:
        """Lets a packet too long go by; what comes behind it."""
        passing = self._passing
        assert passing is not None
        own, behind = data[: passing.left], data[passing.left :]
        passing.head += own[: _HEAD - len(passing.head)]
        passing.left -= len(own)
        if passing.left == 0:
            self._passing = None
            found.append(self._publish(passing.first, bytes(passing.head), 0, len(passing.head), passing.length))
        return behind

    def _publish(self, first: int, data: bytes, at: int, end: int, length: int | None = None) -> Publish:
        qos = first >> 1 & 3
        text_end = at + 2 + (data[at] << 8 | data[at + 1]) if end - at >= 2 else end + 1
        rest = text_end + (2 if qos else 0)
        if qos == 3 or rest > end:
            raise ProtocolBroken("a message that is cut off, or has QoS 3, is no MQTT")
        raw = data[at + 2 : text_end]
        topic = self._topics.get(raw) or self._topic(raw)
        id_ = data[text_end] << 8 | data[text_end + 1] if qos else 0
        begin = rest
        if self.version == V5:
            if rest < end and data[rest] == 0:
                begin = rest + 1
            elif (told := _long(data, rest, end)) is None or (told[1] + told[0] > end and length is None):
                raise ProtocolBroken("a message whose properties are cut off is no MQTT")
            else:
                begin = told[1] + told[0]
        whole = end - begin if length is None else max(0, length - (begin - at))
        return Publish(topic, data[begin:end], qos, bool(first & 1), bool(first & 8), id_, whole)

    def _topic(self, raw: bytes) -> str:
        # one that is no UTF-8 is named so that people see it: the broker should not have let it through
        text = raw.decode(errors="backslashreplace")
        if len(self._topics) >= _TOPICS:
            self._topics.clear()
        if len(raw) <= 1_024:
            self._topics[raw] = text
        return text

    def _other(self, first: int, body: bytes) -> Packet:
        match first:
            case 0x20 if len(body) >= 2:
                return self._connack(body)
            case 0x40 if len(body) >= 2:
                return Puback(body[0] << 8 | body[1], body[2] if len(body) > 2 else 0)
            case 0x90 | 0xB0 if len(body) >= 2:
                codes = _behind(body, 2) if self.version == V5 else body[2:]
                return Suback(body[0] << 8 | body[1], list(codes))
            case 0xD0 if not body:
                return Pong()
            case 0xE0:
                code = body[0] if body else 0
                return Disconnect(code, reason_of(code, V5))
        raise ProtocolBroken(f"0x{first:02x} with {len(body)} bytes is no MQTT")

    def _connack(self, body: bytes) -> Connack:
        code = body[1]
        properties = _properties(body[2:]) if self.version == V5 and len(body) > 2 else {}
        told = properties.get(0x1F)
        reason = told.decode(errors="replace") if isinstance(told, bytes) and told else reason_of(code, self.version)
        given, maximum, expiry = properties.get(0x12), properties.get(0x21), properties.get(0x11)
        return Connack(
            bool(body[0] & 1),
            code,
            reason,
            maximum if isinstance(maximum, int) else 65_535,
            expiry if isinstance(expiry, int) else FOREVER,
            given.decode(errors="replace") if isinstance(given, bytes) else None,
        )


class _Passing:
    """A packet too long that goes by: ``left`` of its ``length`` bytes are still to come."""

    def __init__(self, first: int, length: int) -> None:
        self.first = first
        self.length = length
        self.left = length
        self.head = bytearray()


def _long(data: bytes, at: int, end: int | None = None) -> tuple[int, int] | None:
    """A number of variable length, and where it ends; None: it is not whole yet."""
    number = 0
    stop = len(data) if end is None else end
    for n in range(4):
        if at + n >= stop:
            return None
        byte = data[at + n]
        number |= (byte & 0x7F) << 7 * n
        if not byte & 0x80:
            return number, at + n + 1
    raise ProtocolBroken("a length of five bytes is no MQTT")


def _behind(body: bytes, at: int) -> bytes:
    told = _long(body, at)
    if told is None:
        raise ProtocolBroken("properties that are cut off are no MQTT")
    return body[told[1] + told[0] :]


_SIZES = {0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}
_TEXTS = (0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F)


def _properties(data: bytes) -> dict[int, int | bytes]:
    """The properties of a CONNACK."""
    found: dict[int, int | bytes] = {}
    told = _long(data, 0)
    if told is None or told[1] + told[0] > len(data):
        raise ProtocolBroken("properties that are cut off are no MQTT")
    at, end = told[1], told[1] + told[0]
    while at < end:
        name = data[at]
        at += 1
        if (size := _SIZES.get(name)) is not None:
            found[name] = int.from_bytes(data[at : at + size], "big")
            at += size
        elif name in _TEXTS:
            size = int.from_bytes(data[at : at + 2], "big")
            found[name] = data[at + 2 : at + 2 + size]
            at += 2 + size
        elif name == 0x26:  # a pair of texts
            for _ in range(2):
                at += 2 + int.from_bytes(data[at : at + 2], "big")
        else:
            raise ProtocolBroken(f"a property 0x{name:02x} in a CONNACK is no MQTT")
    if at != end:
        raise ProtocolBroken("properties that are cut off are no MQTT")
    return found
