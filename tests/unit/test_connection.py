"""A connection that breaks while it is used, and replies that come in pieces."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
import redis.exceptions as rx
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from iotd.config.sections.servers import Redis
from iotd.config.values import Address
from iotd.model.errors import ShardUnavailable
from iotd.shards.connection import Connection, _PairReplies


def test_a_transport_that_was_closed_under_us_is_an_unavailable_shard_on_uvloop_too() -> None:
    async def play() -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        link = await Connection.open(Address(host, port), Redis(), connect_timeout=5, response_timeout=5)
        writer = link._link._writer
        assert writer is not None
        writer.transport.abort()
        await asyncio.sleep(0)
        try:
            with pytest.raises(ShardUnavailable):
                await link.send([b"*1\r\n$4\r\nPING\r\n"])
            with pytest.raises(ShardUnavailable):
                await link.call("PING")
        finally:
            await link.close()
            server.close()

    uvloop.run(play())


PAIRS = [b"*2\r\n:%d\r\n+%d.5\r\n" % (time, time) for time in range(5)]


@given(
    st.lists(st.one_of(st.integers(0, 5), st.just("TSDB: the key does not exist")), min_size=1, max_size=6),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_replies_of_pairs_are_told_apart_wherever_the_stream_is_cut(wanted: list[int | str], cuts: list[int]) -> None:
    whole = b"".join(
        b"-%s\r\n" % one.encode() if isinstance(one, str) else b"*%d\r\n%s" % (one, b"".join(PAIRS[:one]))
        for one in wanted
    )
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})

    async def play() -> None:
        stream = asyncio.StreamReader()

        async def feed() -> None:
            for start, end in pairwise(places):
                stream.feed_data(whole[start:end])
                await asyncio.sleep(0)
            stream.feed_eof()

        task = asyncio.create_task(feed())
        replies = _PairReplies(stream)
        for one in wanted:
            reply = await replies.next()
            if isinstance(one, str):
                assert str(reply) == one
            else:
                assert reply == (one, b"".join(PAIRS[:one]))
        await task
        with pytest.raises(rx.ConnectionError):
            await replies.next()

    asyncio.run(play())


@pytest.mark.parametrize("reply", [b"+OK\r\n", b":5\r\n", b"*1\r\n:5\r\n+6\r\n:7\r\n", b"*1\r\n*2\r\n$1\r\n5\r\n"])
async def test_a_reply_of_another_form_is_an_error(reply: bytes) -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(reply)
    stream.feed_eof()
    with pytest.raises(rx.RedisError):
        await _PairReplies(stream).next()
