"""Keys of requests: a repeat gets the first one's time, also over a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from iotd.intake import requests
from iotd.intake.requests import Requests
from iotd.model.errors import StateUnwritable


async def test_a_repeat_has_the_time_of_the_first(tmp_path: Path) -> None:
    known = Requests(tmp_path / "requests.sqlite")
    assert await known.arrival("a", 100) == 100
    assert await known.arrival("b", 110) == 110
    assert await known.arrival("a", 120) == 100
    known.close()
    again = Requests(tmp_path / "requests.sqlite")
    assert await again.arrival("a", 130) == 100
    again.close()


async def test_many_at_once_agree_on_one_time(tmp_path: Path) -> None:
    known = Requests(tmp_path / "requests.sqlite")
    found = await asyncio.gather(*(known.arrival(f"k{n % 7}", 100 + n) for n in range(70)))
    assert [found[n] for n in range(7)] == list(range(100, 107))
    assert all(found[n] == found[n % 7] for n in range(70))
    known.close()


async def test_old_keys_go_and_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_MOST", 50)
    monkeypatch.setattr(requests, "_TIDY_EVERY", 10)
    known = Requests(tmp_path / "requests.sqlite")
    for n in range(200):
        await known.arrival(f"k{n}", n)
    assert await known.arrival("k199", 1_000) == 199
    assert await known.arrival("k0", 1_000) == 1_000
    known.close()


async def test_a_key_that_can_not_be_noted_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    known = Requests(tmp_path / "state" / "requests.sqlite")
    with pytest.raises(StateUnwritable):
        await known.arrival("a", 1)
    known.close()
