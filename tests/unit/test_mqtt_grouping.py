"""Topics in groups: nothing is counted twice or left out, and memory has a bound."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.config.topics.filters import matches
from iotd.sources.mqtt.exploring import grouping
from iotd.sources.mqtt.exploring.grouping import Topics
from iotd.sources.mqtt.packets import Publish


def message(topic: str, payload: bytes = b"21.5", *, qos: int = 1, retained: bool = False) -> Publish:
    return Publish(topic, payload, qos, retained, False, 1 if qos else 0, len(payload))


def groups(*topics: str) -> dict[str, tuple[int, int]]:
    found = Topics()
    for topic in topics:
        found.add(message(topic))
    return {one.pattern: (one.topics, one.messages) for one in found.groups()}


def test_a_few_topics_stay_themselves() -> None:
    assert groups("a/b", "a/c", "a/b", "a", "", "a//") == {
        "a/b": (1, 2),
        "a/c": (1, 1),
        "a": (1, 1),
        "": (1, 1),
        "a//": (1, 1),
    }


def test_many_of_one_form_become_one_group() -> None:
    topics = [f"home/room{n}/{kind}" for n in range(40) for kind in ("temperature", "humidity")]
    assert groups(*topics, "home") == {"home/+/temperature": (40, 40), "home/+/humidity": (40, 40), "home": (1, 1)}


def test_wildcards_within_wildcards_are_joined_too() -> None:
    topics = [f"site{a}/room{b}/t" for a in range(30) for b in range(30)]
    assert groups(*topics) == {"+/+/t": (900, 900)}


def test_what_is_very_deep_or_very_long_is_counted_where_it_begins() -> None:
    deep = "/".join("abcdefghijklmnopqrstuvwxyz")
    assert groups(deep, deep + "/x") == {"/".join("abcdefghijkl") + "/#": (2, 2)}
    assert groups("x/" + "y" * 60_000) == {"x/+": (1, 1)}


def test_qos_and_what_is_retained_are_counted_apart() -> None:
    found = Topics()
    found.add(message("a", qos=0, retained=True))
    found.add(message("a", qos=0))
    found.add(message("a", b"x" * 100_000))
    (one,) = found.groups()
    assert (one.messages, one.retained, one.qos0) == (3, 1, 1)
    assert len(one.payload) <= 4_096


def test_a_topic_too_long_is_cut_in_the_example() -> None:
    found = Topics()
    found.add(message("x/" + "y" * 60_000))
    (one,) = found.groups()
    assert len(one.topic) <= 1_000


levels = st.sampled_from([str(n) for n in range(30)] + ["", "a"])


@given(st.lists(st.lists(levels, min_size=1, max_size=15).map("/".join), max_size=150))
def test_every_message_is_in_one_group_whose_pattern_matches_it(topics: list[str]) -> None:
    found = Topics()
    for topic in topics:
        found.add(message(topic))
    all_ = found.groups()
    assert sum(one.messages for one in all_) == len(topics)
    assert sum(one.topics for one in all_) == len(set(topics))
    assert max(Counter(one.pattern for one in all_).values(), default=1) == 1
    for one in all_:
        assert matches(one.pattern, one.topic)
    for topic in topics:
        assert any(matches(one.pattern, topic) for one in all_)


def test_memory_has_a_bound_whatever_the_topics_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "MOST_TOPICS", 10_000)
    monkeypatch.setattr(grouping, "_NODES", 2_000)
    found = Topics()
    tracemalloc.start()
    try:
        for n in range(20_000):
            found.add(message(f"{n % 11}/{n % 7}/{n % 5}/{n % 10}/{n % 9}/{n}"))
        middle = tracemalloc.get_traced_memory()[0]
        for n in range(20_000, 60_000):
            found.add(message(f"{n % 11}/{n % 7}/{n % 5}/{n % 10}/{n % 9}/{n}"))
        end = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert end < 8 * 1024**2
    assert end < middle * 1.05 + 1024**2
    assert sum(one.messages for one in found.groups()) == 60_000
