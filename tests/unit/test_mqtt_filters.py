"""Topic filters, held against a matcher that tries every topic of a small world."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.config.topics.filters import covers, disjoint, join, matches, overlap, valid, valid_topic

NAMES = ("a", "b", "", "$s", "other")
"""``other`` stands for all the names that no filter has."""
TOPICS = ["/".join(levels) for n in range(1, 6) for levels in product(NAMES, repeat=n) if levels != ("",)]

filters = st.builds(
    lambda levels, rest: "/".join([*levels, *rest]),
    st.lists(st.sampled_from(["a", "b", "", "+", "$s"]), min_size=0, max_size=3),
    st.sampled_from([["#"], ["+"], ["a"], ["b"]]),
)


def by_hand(topic_filter: str, topic: str) -> bool:
    """Section 4.7 of the standard, word by word."""

    def rest(pattern: list[str], levels: list[str]) -> bool:
        if pattern == ["#"]:
            return True
        if not pattern or not levels:
            return pattern == levels
        return pattern[0] in ("+", levels[0]) and rest(pattern[1:], levels[1:])

    return not (topic[0:1] == "$" and topic_filter[0:1] in ("+", "#")) and rest(
        topic_filter.split("/"), topic.split("/")
    )


def matched(topic_filter: str) -> set[str]:
    return {topic for topic in TOPICS if by_hand(topic_filter, topic)}


@pytest.mark.parametrize(
    ("topic_filter", "is_one"),
    [
        ("a", True),
        ("a/b", True),
        ("#", True),
        ("+", True),
        ("a/#", True),
        ("+/+/#", True),
        ("/", True),
        ("a//b", True),
        ("/a", True),
        ("a/", True),
        ("$SYS/#", True),
        ("salle à manger/température", True),
        ("", False),
        ("a#", False),
        ("a/#/b", False),
        ("#/a", False),
        ("a+", False),
        ("a/+b/c", False),
        ("##", False),
        ("a\0b", False),
        ("\ud800", False),
        ("a" * 65_535, True),
        ("é" * 32_768, False),
    ],
)
def test_what_is_a_filter(topic_filter: str, is_one: bool) -> None:
    assert valid(topic_filter) is is_one
    assert valid_topic(topic_filter) is (is_one and not {"+", "#"} & set(topic_filter))


@pytest.mark.parametrize(
    ("topic_filter", "topic", "it_does"),
    [
        ("sport/#", "sport", True),
        ("sport/#", "sport/tennis/player1", True),
        ("sport/#", "sports", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("#", "$SYS/uptime", False),
        ("+/uptime", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("$SYS/+", "$SYS/uptime", True),
        ("a/+/$state", "a/b/$state", True),
        ("a/#", "a/$state", True),
        ("A", "a", False),
    ],
)
def test_the_examples_of_the_standard(topic_filter: str, topic: str, it_does: bool) -> None:
    assert matches(topic_filter, topic) is it_does
    assert by_hand(topic_filter, topic) is it_does


@given(filters, st.sampled_from(TOPICS))
def test_matches_is_what_the_standard_says(topic_filter: str, topic: str) -> None:
    assert valid(topic_filter)
    assert matches(topic_filter, topic) is by_hand(topic_filter, topic)


SHORT = [
    "#",
    "+",
    "/#",
    "/+",
    "+/#",
    "+/+",
    "/",
    "a",
    "a/#",
    "a/+",
    "/+/#",
    "+/+/#",
    "a/+/#",
    "$s",
    "$s/#",
    "$s/+",
    "//#",
]


@pytest.mark.parametrize("a", SHORT)
@pytest.mark.parametrize("b", SHORT)
def test_short_filters_against_each_other(a: str, b: str) -> None:
    one, other = matched(a), matched(b)
    assert (covers(a, b), overlap(a, b)) == (one >= other, bool(one & other))
    found = [matched(each) for each in disjoint([a, b])]
    assert set().union(*found) >= one | other
    assert sum(map(len, found)) == len(set().union(*found))


@given(filters, filters)
def test_covers_and_overlap_are_what_trying_every_topic_finds(a: str, b: str) -> None:
    one, other = matched(a), matched(b)
    assert covers(a, b) is (one >= other)
    assert overlap(a, b) is bool(one & other)
    assert overlap(b, a) is bool(one & other)


@given(filters, filters)
def test_a_join_matches_all_that_two_overlapping_filters_match(a: str, b: str) -> None:
    if overlap(a, b):
        joined = join(a, b)
        assert valid(joined)
        assert matched(joined) >= matched(a) | matched(b)


@given(st.lists(filters, max_size=7))
def test_of_disjoint_filters_no_two_match_one_topic_and_none_is_missed(given_filters: list[str]) -> None:
    found = disjoint(given_filters)
    all_matched = [matched(one) for one in found]
    assert all(valid(one) for one in found)
    assert sum(map(len, all_matched)) == len(set().union(*all_matched))
    assert set().union(*all_matched) >= set().union(*map(matched, given_filters))
    assert disjoint(found) == found
    if not any(overlap(a, b) for n, a in enumerate(given_filters) for b in given_filters[:n]):
        assert set(map(frozenset, all_matched)) == set(map(frozenset, map(matched, given_filters)))


@pytest.mark.parametrize(
    ("given_filters", "wanted"),
    [
        ([], []),
        (["a", "a", "b"], ["a", "b"]),
        (["a/b", "a/#"], ["a/#"]),
        (["a/+/c", "a/b/+"], ["a/+/+"]),
        (["a/+", "a"], ["a/+", "a"]),
        (["$SYS/a", "#"], ["#", "$SYS/a"]),
        (["+/a/x", "b/+/x", "b/c/+"], ["+/+/+"]),
        (["a/+/c", "a/b/#"], ["a/+/#"]),
        (["+/#"], ["#"]),
        (["/#", "+"], ["/#", "+"]),
        (["/+/#", "/#"], ["/#"]),
        (["/a", "/#"], ["/#"]),
    ],
)
def test_what_becomes_of_some(given_filters: list[str], wanted: list[str]) -> None:
    assert disjoint(given_filters) == wanted


def test_ten_thousand_plain_topics_beside_a_few_filters_take_no_second() -> None:
    topics = [f"house/device{n}/state" for n in range(10_000)]
    assert len(disjoint([*topics, "house/device7/#", "other/+"])) == 10_001
