"""Whose a node is, by what it says of itself."""

from __future__ import annotations

import json

import pytest

from iotd.model.errors import ShardForeign
from iotd.shards.identity import Expected, Identity

OURS = {"system": "aa", "shard": "salon", "created": "2026-11-28T09:00:00+00:00"}


def text(**changes: object) -> bytes:
    return json.dumps(OURS | changes).encode()


def test_what_is_ours_is_taken_and_what_says_nothing_is_nobodys() -> None:
    assert Expected("salon", "aa").check(text(), "here") == Identity("aa", "salon", "2026-11-28T09:00:00+00:00")
    assert Expected("salon").check(text(system="bb"), "here") is not None, "its system is not known here"
    assert Expected("salon", "aa").check(None, "here") is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (text(shard="cuisine"), "is shard 'cuisine' of system aa"),
        (text(system="bb"), "of system bb"),
        (b"", "no iotd wrote"),
        (b"\xff\xfe", "no iotd wrote"),
        (b"[1, 2]", "no iotd wrote"),
        (b'"salon"', "no iotd wrote"),
        (b"null", "no iotd wrote"),
        (json.dumps({"shard": "salon"}).encode(), "no iotd wrote"),
    ],
)
def test_what_is_anothers_is_refused_with_what_it_is_and_where(value: bytes, says: str) -> None:
    with pytest.raises(ShardForeign, match=r"10\.0\.0\.1:6379") as raised:
        Expected("salon", "aa").check(value, "10.0.0.1:6379")
    assert says in str(raised.value)


def test_only_what_could_be_ours_can_be_adopted() -> None:
    for changes, adoptable in (({"system": "bb"}, True), ({"shard": "cuisine"}, False)):
        with pytest.raises(ShardForeign) as raised:
            Expected("salon", "aa").check(text(**changes), "here")
        assert ("iotd adopt" in str(raised.value)) is adoptable
