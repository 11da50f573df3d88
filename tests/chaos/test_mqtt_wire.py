"""The witness' own reading of MQTT: against iotd's, which was written apart from it, and against what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.sources.mqtt import packets as iotds
from iotd.sources.mqtt.decoder import Decoder
from tests.chaos.mqtt import wire
from tests.chaos.mqtt.wire import Broken, Hello, Packets, Published

TOPICS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=300)
VERSIONS = st.sampled_from((wire.V311, wire.V5))


def whole(data: bytes) -> list[wire.Packet]:
    return list(Packets().feed(data))


@given(VERSIONS, TOPICS, st.binary(max_size=40_000), st.booleans(), st.integers(0, 65_535))
def test_a_message_is_what_iotd_reads_of_it(version: int, topic: str, payload: bytes, retain: bool, id_: int) -> None:
    qos = 1 if id_ else 0
    raw = iotds.publish(version, topic, payload, qos=qos, retain=retain, id_=id_)
    (packet,) = whole(raw)
    assert packet.raw == raw
    found = wire.published(packet, version)
    assert found == Published(topic, payload, qos, retain, False, id_)
    (theirs,) = Decoder(version, 1 << 20).feed(raw)
    assert isinstance(theirs, iotds.Publish)
    assert (theirs.topic, theirs.payload, theirs.id) == (found.topic, found.payload, found.packet)


@given(TOPICS, st.binary(max_size=300), st.booleans(), st.integers(1, 65_535))
def test_what_publishers_send_is_read_by_iotd(topic: str, payload: bytes, again: bool, id_: int) -> None:
    raw = wire.publish(topic, payload, packet=id_, again=again)
    (theirs,) = Decoder(wire.V311, 1 << 20).feed(raw)
    assert theirs == iotds.Publish(topic, payload, 1, False, again, id_, len(payload))
    assert wire.published(whole(raw)[0], wire.V311) == Published(topic, payload, 1, False, again, id_)


@given(st.lists(st.tuples(TOPICS, st.binary(max_size=300)), max_size=8), st.data())
def test_packets_are_found_however_they_are_cut(said: list[tuple[str, bytes]], data: st.DataObject) -> None:
    raws = [wire.publish(topic, payload, packet=n + 1) for n, (topic, payload) in enumerate(said)] + [wire.PING]
    stream, packets, at = b"".join(raws), Packets(), 0
    found: list[wire.Packet] = []
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        found += packets.feed(stream[at : at + size])
        at += size
    assert [packet.raw for packet in found] == raws


@given(VERSIONS, st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40), st.booleans())
def test_a_connect_says_who_comes(version: int, client: str, clean: bool) -> None:
    raw = iotds.connect(version, client, keep_alive=4, clean=clean, username="u", password="p", receive_maximum=1_000)
    assert wire.hello(whole(raw)[0]) == Hello(version, client, clean)
    assert wire.hello(whole(wire.connect(client, version=version, clean=clean))[0]) == Hello(version, client, clean)


@given(st.lists(st.integers(1, 65_535), min_size=1, max_size=50))
def test_pubacks_that_iotd_sends_together_are_read_one_by_one(ids: list[int]) -> None:
    found = whole(iotds.puback(ids))
    assert [packet.type for packet in found] == [wire.PUBACK] * len(ids)
    assert [wire.acknowledged(packet) for packet in found] == ids


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x20\x02\x01\x00", (0, True)),
        (b"\x20\x02\x00\x00", (0, False)),
        (b"\x20\x02\x00\x05", (5, False)),
        (b"\x20\x0a\x01\x00\x07\x27\x00\x00\x10\x00\x25\x01", (0, True)),
    ],
)
def test_an_answer_to_connect_says_whether_the_session_was_kept(raw: bytes, said: tuple[int, bool]) -> None:
    assert wire.let_in(whole(raw)[0]) == said


def test_properties_of_a_message_are_none_of_its_payload() -> None:
    body = b"\x00\x01t\x00\x07" + b"\x05\x02\x00\x00\x00\x09" + b"21.5"
    (packet,) = whole(bytes((0x3A, len(body))) + body)
    assert wire.published(packet, wire.V5) == Published("t", b"21.5", 1, False, True, 7)


@pytest.mark.parametrize("raw", [b"\x32\xff\xff\xff\xff\x01", b"\x32\xff\xff\xff\x7f"])
def test_a_length_that_nobody_sends_is_no_mqtt(raw: bytes) -> None:
    with pytest.raises(Broken):
        whole(raw)


@given(st.binary(max_size=60), VERSIONS)
def test_of_any_bytes_it_says_what_they_are_or_that_they_are_none(body: bytes, version: int) -> None:
    packet = wire.Packet(wire.PUBLISH, 2, body, b"")
    for read in (lambda: wire.published(packet, version), lambda: wire.hello(packet), lambda: wire.let_in(packet)):
        try:
            read()
        except Broken:
            continue
