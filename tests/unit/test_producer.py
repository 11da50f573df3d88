"""Readings from other programs: on disk when the call returns, once each, whatever becomes of the connection."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
import pytest

from iotd.model.errors import StateError, StateUnwritable
from iotd.model.held import Held as HeldThing
from iotd.model.observation import Piece
from iotd.producer import Held, Producer, reading
from iotd.sources.base import Intake
from iotd.sources.local import LocalServer
from tests.servers.system import until


class Taken:
    """Takes pieces into memory, or fails as told."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, Any]] = []
        self.failures = 0
        self.refuses = False

    async def observe(self, pieces: Sequence[Piece], *, backlog: bool) -> Awaitable[Sequence[HeldThing]]:
        if self.failures:
            self.failures -= 1
            raise StateUnwritable("no space left on the disk: free some")
        self.said += [(one.time, one.value) for piece in pieces for one in piece.said]
        return self._written(pieces)

    async def _written(self, pieces: Sequence[Piece]) -> Sequence[HeldThing]:
        await asyncio.sleep(0.001)
        bad = [p for p in pieces if p.why_not or self.refuses]
        return [HeldThing("local", p.form, p.topic, p.payload, 0, "unknown type", "radiation") for p in bad]


@asynccontextmanager
async def serving(folder: Path, taken: Taken) -> AsyncIterator[None]:
    server = LocalServer("local", folder / "intake.sock")
    task = asyncio.create_task(server.run(cast(Intake, taken)))

    async def listens() -> bool:
        return server.path.exists()

    await until(listens, 5, "it listens")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_reading_is_taken_when_the_call_returns(tmp_path: Path) -> None:
    taken = Taken()
    async with serving(tmp_path, taken), Producer(tmp_path) as p:
        await p.put("temperature", "salon", "north", 21.3, time=1_796_000_000_000)
        assert taken.said == [(1_796_000_000_000, 21.3)]
        await p.put("temperature", "salon", 1, "70.7 °F", time=datetime(2026, 11, 30, tzinfo=UTC))
        await asyncio.gather(*(p.put("co2", "salon", "1", n) for n in range(200)))
        assert [value for _, value in taken.said[2:]] == list(range(200))
        assert taken.said[1][0] == "2026-11-30T00:00:00+00:00"


async def test_numbers_may_be_of_any_library_and_need_not_be_finite(tmp_path: Path) -> None:
    taken = Taken()
    async with serving(tmp_path, taken), Producer(tmp_path) as p:
        for value in (np.float64(20.1), np.float32(0.5), np.int64(3), np.True_, Decimal("21.3"), math.nan, -math.inf):
            await p.put("temperature", "salon", "north", value, time=1_796_000_000_000)
        await p.put("temperature", "salon", "north", 1, time=np.int64(1_796_000_000_001))
        assert [value for _, value in taken.said] == [20.1, 0.5, 3.0, 1.0, 21.3, "nan", "-inf", 1]
        assert taken.said[-1][0] == 1_796_000_000_001
    wrong: Any
    for wrong in (None, [], "20 °C".encode()):
        with pytest.raises((TypeError, ValueError)):
            reading("co2", "salon", "1", wrong)


async def test_what_is_held_says_why_and_is_not_sent_again(tmp_path: Path) -> None:
    taken = Taken()
    taken.refuses = True
    async with serving(tmp_path, taken), Producer(tmp_path) as p:
        with pytest.raises(Held, match="unknown type: radiation"):
            await p.put("radiation", "salon", "north", 21.3)
        assert len(taken.said) == 1


async def test_it_waits_for_a_daemon_and_sends_again_in_order_what_had_no_answer(tmp_path: Path) -> None:
    taken = Taken()
    taken.failures = 3
    async with Producer(tmp_path) as p:
        puts = [asyncio.create_task(p.put("co2", "salon", "1", n, time=n + 1)) for n in range(30)]
        await asyncio.sleep(0)
        async with serving(tmp_path, taken):
            await asyncio.gather(*puts)
        more = asyncio.create_task(p.put("co2", "salon", "1", 30, time=31))
        await asyncio.sleep(0)
        async with serving(tmp_path, taken):
            await more
    last: dict[Any, int] = {}
    for at, (time, _) in enumerate(taken.said):
        last[time] = at
    assert [time for time, _ in sorted(last.items(), key=lambda one: one[1])] == list(range(1, 32))
    assert {value for time, value in taken.said if time == 7} == {6}


async def test_without_a_daemon_a_call_ends_with_its_timeout(tmp_path: Path) -> None:
    async with Producer(tmp_path, timeout=0.05) as p:
        with pytest.raises(StateError, match=r"no answer of the daemon on .* within 0\.05 s"):
            await p.put("co2", "salon", "1", 400)
    with pytest.raises(StateError, match="async with"):
        await Producer(tmp_path).put("co2", "salon", "1", 400)
    with pytest.raises(ValueError, match="time zone"):
        reading("co2", "salon", "1", 400, time=datetime(2026, 1, 1))


@pytest.mark.parametrize("message", [b"{\n", b"[]\n", b'{"id": 1}\n', b'{"id": 1, "readings": 3}\n', b"x" * 2_000_000])
async def test_what_is_no_message_says_so_and_harms_nobody(tmp_path: Path, message: bytes) -> None:
    taken = Taken()
    async with serving(tmp_path, taken):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "intake.sock"))
        writer.write(message)
        assert "error" in orjson.loads(await reader.readline())
        writer.close()
        async with Producer(tmp_path) as p:
            await p.put("co2", "salon", "1", 400)
    assert len(taken.said) == 1
