"""The decoder: the same packets however they are cut, bounded memory, and only ProtocolBroken on any bytes."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.sources.mqtt import packets
from iotd.sources.mqtt.decoder import Decoder
from iotd.sources.mqtt.packets import (
    V5,
    V311,
    Connack,
    Disconnect,
    Pong,
    ProtocolBroken,
    Puback,
    Publish,
    Suback,
)

LIMIT = 1 << 20
VERSIONS = st.sampled_from([V311, V5])
TOPICS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=30)


def fed(data: bytes, version: int, cuts: list[int] | None = None, limit: int = LIMIT) -> list[packets.Packet]:
    decoder = Decoder(version, limit)
    found, at = list[packets.Packet](), 0
    for cut in [*sorted({cut % (len(data) + 1) for cut in cuts or []}), len(data)]:
        found += decoder.feed(data[at:cut])
        at = cut
    return found


@given(
    VERSIONS,
    st.lists(st.tuples(TOPICS, st.binary(max_size=300), st.integers(0, 1), st.booleans(), st.integers(1, 65_535))),
    st.lists(st.integers(0, 10_000), max_size=10),
)
def test_messages_come_as_they_were_sent_however_they_are_cut(
    version: int, sent: list[tuple[str, bytes, int, bool, int]], cuts: list[int]
) -> None:
    data = b"".join(
        packets.publish(version, topic, payload, qos=qos, retain=retain, id_=id_ if qos else 0)
        for topic, payload, qos, retain, id_ in sent
    )
    assert fed(data, version, cuts) == [
        Publish(topic, payload, qos, retain, False, id_ if qos else 0, len(payload))
        for topic, payload, qos, retain, id_ in sent
    ]


@given(VERSIONS, st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=4), st.sampled_from([64, LIMIT]))
def test_any_bytes_are_packets_or_no_mqtt(version: int, data: bytes, cuts: list[int], limit: int) -> None:
    with suppress(ProtocolBroken):
        fed(data, version, cuts, limit)


@given(VERSIONS, st.integers(1, 255), st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=3))
def test_any_packet_of_a_known_kind_is_one_or_no_mqtt(version: int, first: int, body: bytes, cuts: list[int]) -> None:
    with suppress(ProtocolBroken):
        fed(bytes((first, len(body))) + body, version, cuts)


def test_of_a_message_of_100_mib_the_beginning_is_kept_and_memory_stays_bounded() -> None:
    size = 100 << 20
    head = packets.publish(V5, "home/salon/camera", b"", qos=1, id_=7)[2:]
    whole = size + len(head)
    length = bytes((whole & 0x7F | 0x80, whole >> 7 & 0x7F | 0x80, whole >> 14 & 0x7F | 0x80, whole >> 21))
    decoder = Decoder(V5, LIMIT)
    chunk = b"x" * 65_536
    tracemalloc.start()
    found = decoder.feed(b"\x32" + length + head)
    for _ in range(size // len(chunk)):
        found += decoder.feed(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (one,) = found
    assert isinstance(one, Publish)
    assert (one.topic, one.id, one.length) == ("home/salon/camera", 7, size)
    assert set(one.payload) == {ord("x")}
    assert peak < 4 * LIMIT
    assert decoder.feed(packets.publish(V5, "a", b"1")) == [Publish("a", b"1", 0, False, False, 0, 1)]


@pytest.mark.parametrize("limit", [40, 100, 1000])
@given(VERSIONS, st.lists(st.integers(0, 300), min_size=1, max_size=12), st.lists(st.integers(0, 4000), max_size=6))
def test_messages_too_long_leave_no_trace_in_those_behind(
    limit: int, version: int, sizes: list[int], cuts: list[int]
) -> None:
    data = b"".join(packets.publish(version, f"t/{n}", b"p" * size, qos=1, id_=n + 1) for n, size in enumerate(sizes))
    found = fed(data, version, cuts, limit)
    assert [(one.topic, one.id, one.length) for one in found if isinstance(one, Publish)] == [
        (f"t/{n}", n + 1, size) for n, size in enumerate(sizes)
    ]


def test_a_brokers_answers_are_read() -> None:
    assert fed(b"\x20\x02\x01\x00", V311) == [Connack(True, 0, "code 0x00", 65_535, packets.FOREVER, None)]
    said = b"\x21\x00\x14\x11\x00\x00\x0e\x10\x12\x00\x02me\x22\x00\x05\x26\x00\x01a\x00\x01b"
    assert fed(b"\x20" + bytes((len(said) + 3,)) + b"\x00\x00" + bytes((len(said),)) + said, V5) == [
        Connack(False, 0, "code 0x00", 20, 3600, "me")
    ]
    assert fed(b"\x90\x05\x00\x09\x01\x80\x00", V311) == [Suback(9, [1, 0x80, 0])]
    assert fed(b"\x90\x05\x00\x09\x00\x01\x87", V5) == [Suback(9, [1, 0x87])]
    assert fed(b"\x40\x02\x01\x00\x40\x03\x01\x01\x10\xd0\x00", V5) == [Puback(256, 0), Puback(257, 0x10), Pong()]
    assert fed(b"\xe0\x00\xe0\x01\x8e", V5) == [
        Disconnect(0, "code 0x00"),
        Disconnect(0x8E, "another client has connected with the same client id"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x03\x00\x02\x02\x46",  # a TLS alert
        b"\x36\x04\x00\x01a\x00",  # QoS 3
        b"\x30\xff\xff\xff\xff\x01",
        b"\x32\x03\x00\x09a",
        b"\xd0\x01\x00",
        b"\x20\xff\xff\xff\x7f",
    ],
)
def test_what_is_no_broker_is_named(data: bytes) -> None:
    with pytest.raises(ProtocolBroken, match="is no MQTT"):
        fed(data + b"\0" * 200, V311)


def test_a_topic_that_is_no_utf8_comes_with_its_bytes_named() -> None:
    (one,) = fed(b"\x30\x06\x00\x03a\xff\xfe1", V311)
    assert isinstance(one, Publish)
    assert (one.topic, one.payload) == (r"a\xff\xfe", b"1")


def test_connect_says_who_we_are() -> None:
    plain = packets.connect(V311, "me", keep_alive=30, clean=False, username=None, password=None, receive_maximum=20)
    assert plain == b"\x10\x0e\x00\x04MQTT\x04\x00\x00\x1e\x00\x02me"
    whole = packets.connect(V5, "é", keep_alive=30, clean=False, username="u", password="p", receive_maximum=20)
    assert (
        whole
        == b"\x10\x1d\x00\x04MQTT\x05\xc0\x00\x1e\x08\x21\x00\x14\x11\xff\xff\xff\xff\x00\x02\xc3\xa9\x00\x01u\x00\x01p"
    )
    clean = packets.connect(V5, "me", keep_alive=30, clean=True, username=None, password=None, receive_maximum=20)
    assert clean[9:] == b"\x02\x00\x1e\x03\x21\x00\x14\x00\x02me"


def test_many_pubacks_are_sent_in_their_order() -> None:
    assert packets.puback([1, 65_535, 258]) == b"\x40\x02\x00\x01\x40\x02\xff\xff\x40\x02\x01\x02"
