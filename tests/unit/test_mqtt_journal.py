"""The journal: a repeat after a crash is found, whatever was acknowledged, and nothing new is taken for one."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from iotd.sources.mqtt.journal import Begun, Entry, Journal, entry_of
from iotd.sources.mqtt.packets import Publish


def message(id_: int, payload: bytes = b"21.5", topic: str = "t", *, again: bool = False, qos: int = 1) -> Publish:
    return Publish(topic, payload, qos, False, again, id_ if qos else 0, len(payload))


def noted(messages: Sequence[Publish]) -> Journal:
    journal = Journal(7)
    journal.add([entry_of(one) for one in messages])
    return journal


def after_a_crash(journal: Journal) -> Journal:
    return Journal.decode(journal.encode())


def test_repeats_at_the_beginning_of_a_session_are_found_in_their_order() -> None:
    journal = after_a_crash(noted([message(1), message(2), message(3, b"x")]))
    assert journal.session == 7
    repeats = journal.repeats()
    assert [repeats.place_of(one) for one in (message(2, again=True), message(3, b"x", again=True))] == [1, 2]
    assert repeats.place_of(message(4, again=True)) is None  # was sent, and never read by us
    assert repeats.place_of(message(5)) is None
    assert repeats.over


def test_what_differs_in_payload_topic_or_packet_id_is_new() -> None:
    journal = noted([message(1), message(2), message(3)])
    for other in (message(2, b"21.6", again=True), message(2, topic="u", again=True), message(9, again=True)):
        assert journal.repeats().place_of(other) is None


def test_one_that_is_not_marked_as_sent_before_is_new_and_ends_the_repeats() -> None:
    repeats = noted([message(1), message(2)]).repeats()
    assert repeats.place_of(message(1)) is None
    assert repeats.place_of(message(2, again=True)) is None


def test_a_message_without_an_id_is_never_a_repeat_and_ends_nothing() -> None:
    repeats = noted([message(1)]).repeats()
    assert repeats.place_of(message(0, qos=0)) is None
    assert repeats.place_of(message(1, again=True)) == 0


def test_a_repeat_never_stands_before_one_that_was_found() -> None:
    repeats = noted([message(1), message(2), message(3)]).repeats()
    assert repeats.place_of(message(3, again=True)) == 2
    assert repeats.place_of(message(1, again=True)) is None


def test_of_equal_ones_only_the_last_can_still_be_in_flight() -> None:
    repeats = noted([message(1), message(2), message(1)]).repeats()
    assert repeats.place_of(message(1, again=True)) == 2


def test_what_the_broker_has_confirmed_is_forgotten_and_may_have_been_had() -> None:
    journal = noted([message(1), message(2), message(3)])
    journal.confirmed(2)
    assert (journal.begin, journal.end) == (2, 3)
    assert journal.repeats().place_of(message(2, again=True)) is None
    assert journal.repeats().place_of(message(3, again=True)) == 2
    assert journal.had(entry_of(message(2)))
    assert not journal.had(entry_of(message(2, b"other")))
    assert not journal.had(entry_of(message(9)))


def test_what_was_not_taken_after_all_is_cut_off() -> None:
    journal = noted([message(1)])
    end = journal.end
    journal.add([entry_of(message(2))])
    journal.cut(end)
    assert journal.repeats().place_of(message(2, again=True)) is None


def test_another_session_repeats_nothing_of_the_one_before() -> None:
    journal = noted([message(1)])
    journal.anew(8)
    again = after_a_crash(journal)
    assert again.session == 8
    assert again.repeats().place_of(message(1, again=True)) is None


@given(st.binary(max_size=200))
def test_of_a_position_of_another_form_nothing_is_known(position: bytes) -> None:
    assert Journal.decode(position).end >= 0


def test_a_position_is_never_too_long_for_the_log() -> None:
    journal = Journal(2**63)
    for n in range(20):
        journal.add([Entry(id_ % 65_535 + 1, 2**64 - 1) for id_ in range(n * 1000, n * 1000 + 1000)])
    assert len(journal.encode()) <= 65_535
    assert journal.end == 20_000


@given(
    st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=60),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_with_ids_in_sequence_every_repeat_is_found_and_nothing_new_is(
    payloads: list[bytes], taken: int, acknowledged: int, read: int
) -> None:
    """A broker that counts its ids up sends ``payloads``; we took some, it got some PUBACKs, we crash; it goes on."""
    taken = min(taken, len(payloads))
    acknowledged = min(acknowledged, taken)
    sent = [message(n + 1, payload) for n, payload in enumerate(payloads)]
    journal = after_a_crash(noted(sent[:taken]))
    repeats = journal.repeats()
    found = [repeats.place_of(one._replace(again=True)) for one in sent[acknowledged : max(taken, read)]]
    found += [repeats.place_of(one) for one in sent[max(taken, read) :]]
    assert found == [n if n < taken else None for n in range(acknowledged, len(sent))]


def test_what_was_begun_only_is_known_after_a_crash_until_it_is_finished() -> None:
    journal = noted([message(1), message(2), message(3)])
    again = Journal.decode(journal.encode(Begun(1, 3, 1234)))
    assert again.begun == Begun(1, 3, 1234)
    again.finished(1)
    assert Journal.decode(again.encode()).begun == Begun(2, 3, 1234)
    again.finished(2)
    assert Journal.decode(again.encode()).begun.first == Journal.decode(again.encode()).begun.end


def test_a_message_goes_by_one_name_over_restarts_and_no_two_by_the_same() -> None:
    journal = noted([message(1), message(2), message(3)])
    names = [journal.name_of(place) for place in range(4)]
    journal.confirmed(2)
    again = after_a_crash(journal)
    repeats = again.repeats()
    place = repeats.place_of(message(3)._replace(again=True))
    assert place is not None
    assert again.name_of(place) == names[2]
    assert again.name_of(again.end) == names[3]
    again.anew(5)
    assert again.name_of(again.end) not in names


def test_what_comes_behind_ends_what_was_begun() -> None:
    again = Journal.decode(noted([message(1)]).encode(Begun(0, 1, 1234)))
    again.add([entry_of(message(2))])
    assert after_a_crash(again).begun.end == 0
