"""The clients of InfluxDB for Python and JavaScript, as they are."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from iotd.model.series import Series
from tests.clients.building import TOKEN, Building, Readings
from tests.clients.writers import HOW
from tests.servers.clients import Program, client, running

pytestmark = pytest.mark.redis

EACH = (*HOW, "javascript")
PATIENT = ("batching", "javascript")
"""Those that try again by themselves, for as long as a daemon needs to come back."""
HERE = Path(__file__).parent


def writing(
    how: str, house: Building, folder: Path, first: int, count: int, *, token: str = TOKEN
) -> AbstractContextManager[Program]:
    """A client that writes readings of a sensor called as itself."""
    there = client("influxclients")
    program: list[str | Path] = [there / "python/bin/python", HERE / "writers.py", how]
    if how == "javascript":
        program = ["node", HERE / "writer.mjs", there]
    return running([*program, house.url, token, how, str(first), str(count)], folder / "client.log")


def wanted(how: str, first: int, count: int) -> Readings:
    return {Series("temperature", "cuisine", how): [(first + n, 20 + n % 64 / 8) for n in range(count)]}


def hour_ago() -> int:
    return time.time_ns() // 1_000_000 - 3_600_000


@pytest.mark.parametrize("how", EACH)
async def test_what_it_says_is_written_stands_in_the_house(house: Building, how: str, tmp_path: Path) -> None:
    first = hour_ago()
    with writing(how, house, tmp_path, first, 200) as program:
        assert await asyncio.to_thread(program.ends, 60) == 0, program.said
    await house.comes_to_hold(wanted(how, first, 200), how)


@pytest.mark.parametrize("how", PATIENT)
async def test_a_daemon_killed_while_it_writes_costs_nothing(own_house: Building, how: str, tmp_path: Path) -> None:
    first, count, chance = hour_ago(), 20_000, random.Random(16)
    with writing(how, own_house, tmp_path, first, count) as program:
        for _ in range(3):
            await asyncio.sleep(chance.uniform(0.3, 1.5))  # at any moment of its writing
            await own_house.restart()
        assert await asyncio.to_thread(program.ends, 100) == 0, program.said
    await own_house.comes_to_hold(wanted(how, first, count))


@pytest.mark.parametrize("how", EACH)
async def test_it_says_that_its_token_is_wrong(house: Building, how: str, tmp_path: Path) -> None:
    with writing(how, house, tmp_path, hour_ago(), 50, token="not-the-token-at-all") as program:
        code = await asyncio.to_thread(program.ends, 60)
    assert "401" in program.said or "nauthorized" in program.said
    assert code != 0 or how == "batching", "the thread of that one says it to the log alone"
