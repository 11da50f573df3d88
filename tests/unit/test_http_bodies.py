"""Bodies and tokens of the ingest: bounded, and nobody gets in by a guess."""

from __future__ import annotations

import asyncio
import base64
import gzip
import os
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.errors import ConfigError
from iotd.sources.http.bodies import BodyBroken, BodySlow, BodyTooLarge, NoRoom, Room, Share, whole
from iotd.sources.http.tokens import Tokens, token_of

TOKEN = "a" * 40
OTHER = "b" * 40


async def pieces(body: bytes, size: int = 1 << 16) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(parts: AsyncIterator[bytes], encoding: str, *, limit: int, seconds: float) -> bytes:
    return await whole(parts, encoding, limit=limit, seconds=seconds, share=Share(Room(limit + 1)))


@given(st.binary(max_size=5_000), st.sampled_from(["", "gzip", "deflate", "identity"]), st.integers(1, 700))
async def test_a_body_comes_back_however_it_was_packed_and_cut(body: bytes, encoding: str, size: int) -> None:
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body) if encoding == "deflate" else body
    assert await read(pieces(packed, size), encoding, limit=5_000, seconds=5) == body


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_what_is_too_large_is_not_kept(encoding: str) -> None:
    body = b"x" * 1_001
    packed = gzip.compress(body) if encoding else body
    with pytest.raises(BodyTooLarge, match="more than 1000 bytes; send it in parts"):
        await read(pieces(packed, 100), encoding, limit=1_000, seconds=5)


async def test_a_bomb_takes_no_more_memory_than_the_limit() -> None:
    bomb = gzip.compress(bytes(200 << 20), 9)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            await read(pieces(bomb), "gzip", limit=1 << 20, seconds=20)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "packed", [b"not gzip", gzip.compress(b"x" * 100, mtime=0)[:-3], gzip.compress(b"x", mtime=0) + b"more", b""]
)
async def test_what_can_not_be_unpacked_is_named(packed: bytes) -> None:
    with pytest.raises(BodyBroken):
        await read(pieces(packed), "gzip", limit=1_000, seconds=5)
    with pytest.raises(BodyBroken, match="send gzip"):
        await read(pieces(packed), "br", limit=1_000, seconds=5)


async def test_a_slow_client_is_given_up() -> None:
    async def drips() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    with pytest.raises(BodySlow):
        await read(drips(), "", limit=1 << 20, seconds=0.1)


async def test_all_requests_together_have_so_much_memory_and_no_more() -> None:
    room = Room(1_000)
    first, second = Share(room), Share(room)
    await whole(pieces(b"x" * 600), "", limit=800, seconds=5, share=first)
    with pytest.raises(NoRoom):
        await whole(pieces(b"x" * 600, 100), "", limit=800, seconds=5, share=second)
    second.give_back()
    await whole(pieces(b"x" * 400), "", limit=800, seconds=5, share=second)
    for share in (first, second):
        share.give_back()
    assert room.left == 1_000


def test_tokens_have_names_and_are_read_again_when_they_change(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# ours\ntelegraf: {TOKEN}\n{OTHER}\n")
    tokens = Tokens(path)
    assert tokens.owner(TOKEN) == "telegraf"
    assert tokens.owner(OTHER) == "line 3"
    assert tokens.owner(TOKEN[:-1]) is None
    assert tokens.owner("") is None
    path.write_text(f"{OTHER}\n")
    os.utime(path, ns=(1, 1))
    assert tokens.owner(TOKEN) is None
    path.unlink()
    assert tokens.owner(OTHER) == "line 1"


@pytest.mark.parametrize("text", ["", "# none\n", "short\n", "name:\n", "\xff"])
def test_a_file_without_a_token_that_will_do_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"ingest\.tokens_file"):
        Tokens(path)
    with pytest.raises(ConfigError, match="can't be read"):
        Tokens(tmp_path / "none")


@pytest.mark.parametrize(
    ("authorization", "user", "password", "token"),
    [
        (f"Token {TOKEN}", None, None, TOKEN),
        (f"bearer {TOKEN}", None, None, TOKEN),
        (f"Token somebody:{TOKEN}", None, None, TOKEN),
        ("Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode(), None, None, TOKEN),
        ("Basic ???", None, None, None),
        (None, "me", TOKEN, TOKEN),
        (None, None, None, None),
        ("Negotiate x", None, None, None),
    ],
)
def test_a_token_is_found_where_clients_put_it(
    authorization: str | None, user: str | None, password: str | None, token: str | None
) -> None:
    assert token_of(authorization, user, password) == token
