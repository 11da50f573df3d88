"""The packets of MQTT 3.1.1 and 5: what they are, and those that we send; :mod:`iotd.sources.mqtt.decoder` reads.

Written by us and not by a library, because a PUBACK is the promise itself: which packet is a repeat, in which order
they came, and how much of one may take memory has to be known here, and no library for both versions says it.
https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html, …/v3.1.1/mqtt-v3.1.1.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from iotd.model.errors import IotdError

V311: Final = 4
V5: Final = 5
"""Protocol levels, as CONNECT has them."""

PINGREQ: Final = b"\xc0\x00"
FOREVER: Final = 0xFFFF_FFFF


class ProtocolBroken(IotdError):
    """What came is no MQTT: something else listens there, or the broker is at fault."""

    retriable = True
    exit_code = 69


class Publish(NamedTuple):
    """A message.

    Attributes:
        payload: of one too long its beginning.
        id: of the packet; 0 at QoS 0.
        again: the broker has sent it before (DUP), or may have.
        length: bytes of the whole payload.
    """

    topic: str
    payload: bytes
    qos: int
    retained: bool
    again: bool
    id: int
    length: int


class Connack(NamedTuple):
    """The broker's answer to CONNECT; ``code`` 0: it has let us in.

    Attributes:
        receive_maximum: messages of QoS 1 that we may have unacknowledged with it.
        session_expiry: seconds for which it keeps our session while we are away; as good as for ever by default.
        client_id: one that it has given us, if any.
    """

    session_present: bool
    code: int
    reason: str
    receive_maximum: int
    session_expiry: int
    client_id: str | None


class Suback(NamedTuple):
    """The broker's answer to SUBSCRIBE or UNSUBSCRIBE: a code for each filter, 0x80 and above where it refuses it."""

    id: int
    codes: Sequence[int]


class Puback(NamedTuple):
    """The broker has taken what we published."""

    id: int
    code: int


class Pong(NamedTuple):
    """The broker's answer to PINGREQ."""


class Disconnect(NamedTuple):
    """The broker ends the connection, and says why (MQTT 5)."""

    code: int
    reason: str


Packet = Publish | Connack | Suback | Puback | Pong | Disconnect

_CONNACK_311 = {
    1: "it does not speak MQTT 3.1.1",
    2: "it does not accept the client id",
    3: "it is not available now",
    4: "wrong user name or password",
    5: "not authorized",
}
_CODES = {
    0x80: "an error that it does not name",
    0x81: "it calls our packet malformed",
    0x82: "it calls our packet a protocol error",
    0x83: "an error of its own",
    0x84: "it does not speak MQTT 5",
    0x85: "it does not accept the client id",
    0x86: "wrong user name or password",
    0x87: "not authorized",
    0x88: "it is not available now",
    0x89: "it is busy",
    0x8A: "it has banned us",
    0x8B: "it shuts down",
    0x8C: "it wants another method of authentication",
    0x8D: "we were silent for too long",
    0x8E: "another client has connected with the same client id",
    0x8F: "it does not accept the topic filter",
    0x90: "it does not accept the topic",
    0x93: "it was sent more than it takes at once",
    0x95: "a packet was too large",
    0x96: "the rate of messages is too high",
    0x97: "a quota is exceeded",
    0x98: "an administrator has ended it",
    0x9A: "it keeps no retained messages",
    0x9B: "it does not support QoS 1",
    0x9C: "another server is to be used",
    0x9D: "the server has moved",
    0x9F: "connections come too often",
    0xA0: "the connection was open for too long",
    0xA2: "it allows no wildcards in topic filters",
}
TAKEN_OVER: Final = 0x8E
UNSUPPORTED_VERSION: Final = 0x84


def reason_of(code: int, version: int) -> str:
    """What a code means, for people."""
    told = _CONNACK_311.get(code) if version == V311 and code < 0x80 else _CODES.get(code)
    return told or f"code 0x{code:02x}"


def connect(
    version: int,
    client_id: str,
    *,
    keep_alive: int,
    clean: bool,
    username: str | None,
    password: str | None,
    receive_maximum: int,
) -> bytes:
    """CONNECT.

    Args:
        keep_alive: seconds.
        clean: begins without a session; else the broker keeps one for ever, or as long as it keeps any.
        receive_maximum: messages of QoS 1 that may be unacknowledged (MQTT 5).
    """
    flags = clean << 1 | (username is not None) << 7 | (password is not None) << 6
    body = b"\x00\x04MQTT" + bytes((version, flags)) + keep_alive.to_bytes(2, "big")
    if version == V5:
        said = b"\x21" + receive_maximum.to_bytes(2, "big")
        if not clean:
            said += b"\x11" + FOREVER.to_bytes(4, "big")
        body += _varint(len(said)) + said
    body += _text(client_id)
    body += _text(username) if username is not None else b""
    body += _text(password) if password is not None else b""
    return _packet(0x10, body)


def subscribe(version: int, id_: int, filters: Iterable[tuple[str, bool]]) -> bytes:
    """SUBSCRIBE at QoS 1.

    Args:
        filters: each with whether its retained messages are wanted though it may be subscribed to already (MQTT 5; a
            broker of 3.1.1 sends them always).
    """
    body = id_.to_bytes(2, "big") + (b"\x00" if version == V5 else b"")
    for topic, retained in filters:
        options = 1 | (0 if retained else 0x10) if version == V5 else 1  # retain handling 1: only to a new subscription
        body += _text(topic) + bytes((options,))
    return _packet(0x82, body)


def unsubscribe(version: int, id_: int, filters: Iterable[str]) -> bytes:
    """UNSUBSCRIBE."""
    body = id_.to_bytes(2, "big") + (b"\x00" if version == V5 else b"")
    return _packet(0xA2, body + b"".join(map(_text, filters)))


def puback(ids: Iterable[int]) -> bytes:
    """PUBACK of several messages, in this order."""
    return b"".join([b"\x40\x02" + id_.to_bytes(2, "big") for id_ in ids])


def publish(version: int, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, id_: int = 0) -> bytes:
    """PUBLISH at QoS 0 or 1."""
    body = _text(topic) + (id_.to_bytes(2, "big") if qos else b"") + (b"\x00" if version == V5 else b"")
    return _packet(0x30 | qos << 1 | retain, body + payload)


def disconnect(version: int) -> bytes:
    """DISCONNECT; the session stays."""
    return b"\xe0\x00" if version == V311 else b"\xe0\x02\x00\x00"


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + _varint(len(body)) + body


def _varint(number: int) -> bytes:
    found = bytearray()
    while True:
        number, low = divmod(number, 128)
        found.append(low | (0x80 if number else 0))
        if not number:
            return bytes(found)


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw
