"""A client by HTTP, as a process of its own: `python -m tests.chaos.clients.http BOOK URL TOKEN ROOM…`.

Several workers, each over a connection of its own, and one message after the other. Whatever is no 204 is tried again:
the same body, with the same times and the same key, until it is acknowledged, or given up after some attempts. SIGTERM
ends it once what is under way is acknowledged.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import aiohttp

from tests.chaos.clients.book import Book, Reading
from tests.chaos.clients.invention import Inventor

_WORKERS = 4
_PAUSE_S = (0.02, 0.3)
_TIMEOUT = aiohttp.ClientTimeout(total=5)
"""As Telegraf has it."""
_FIRST_S, _LONGEST_S = 0.1, 2.0
_GIVES_UP = 0.1
"""How often a message is given up after a few attempts."""
_ATTEMPTS = 3
_PER_MS = {"ns": 1_000_000, "us": 1_000, "ms": 1}
"""Of a precision; that of seconds has none."""


class Request(NamedTuple):
    """A message as it is sent: ``what`` is for the book."""

    path: str
    params: dict[str, str]
    body: bytes
    readings: Sequence[Reading]
    bad: Sequence[str] = ()
    key: str | None = None


class Worker:
    """Gives one message after the other."""

    def __init__(self, number: int, book: Book, url: str, token: str, rooms: Sequence[str]) -> None:
        self._invent = Inventor(f"h{number}", rooms)
        self._rng = self._invent.rng
        self._book = book
        self._url = url
        self._headers = {"Authorization": f"Token {token}"}

    async def run(self, ending: asyncio.Event) -> None:
        """Until it is to end."""
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=_TIMEOUT) as session:
            while not ending.is_set():
                await self._deliver(session, self._request())
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._rng.uniform(*_PAUSE_S)):
                        await ending.wait()

    # ── what is sent ──

    def _request(self) -> Request:
        rng, count = self._rng, self._rng.randrange(1, 7)
        if rng.random() < 0.3:
            return self._json(count)
        keyed = rng.random() < 0.5
        path, params = rng.choice((("/api/v2/write", {"org": "o", "bucket": "b"}), ("/write", {"db": "d"})))
        precision = rng.choice(("ns", "us", "ms", "s"))
        if keyed and rng.random() < 0.6:
            readings = self._invent.timeless(count)
        else:
            readings = self._invent.timed(count, step=1_000 if precision == "s" else 1)
        lines = [_line(one, precision) for one in readings]
        bad = [self._invent.mark() for _ in range(rng.choice((0, 0, 0, 0, 1, 2)))]
        for mark in bad:
            line = rng.choice(_BAD_LINES).format(room=readings[0].location, m=mark)
            lines.insert(rng.randrange(len(lines) + 1), line)
        return Request(
            path,
            {**params, "precision": precision},
            "\n".join(lines).encode(),
            readings,
            bad,
            secrets.token_hex(12) if keyed else None,
        )

    def _json(self, count: int) -> Request:
        rng = self._rng
        keyed = rng.random() < 0.5
        readings = self._invent.timeless(count) if keyed else self._invent.timed(count)
        said = [_object(one) for one in readings]
        bad = [self._invent.mark() for _ in range(rng.choice((0, 0, 0, 1)))]
        said += [{**said[0], "type": "temperature", "sensor": mark, **rng.choice(_BAD_VALUES)} for mark in bad]
        key = secrets.token_hex(12) if keyed else None
        return Request("/readings", {}, json.dumps(said).encode(), readings, bad, key)

    # ── how ──

    async def _deliver(self, session: aiohttp.ClientSession, request: Request) -> None:
        number = self._book.give(request.readings, bad=request.bad, key=request.key)
        attempts = _ATTEMPTS if self._rng.random() < _GIVES_UP else sys.maxsize
        headers = {"Idempotency-Key": request.key} if request.key else {}
        body = request.body
        if self._rng.random() < 0.3:
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        pause = _FIRST_S
        for _ in range(attempts):
            self._book.tries(number)
            try:
                async with session.post(
                    self._url + request.path, params=request.params, data=body, headers=headers
                ) as answer:
                    await answer.read()
                    if answer.status == 204:
                        self._book.done(number)
                        return
                    if answer.status == 503:
                        self._book.later(number)
                    elif 400 <= answer.status < 500:
                        raise SystemExit(f"{answer.status} to a message that was well formed: {await answer.text()}")
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(pause * self._rng.uniform(0.5, 1))
            pause = min(2 * pause, _LONGEST_S)


_BAD_LINES = (
    "temperature,location={room},sensor_id={m} value=",
    "nothing_known,location={room},sensor_id={m} value=21.5",
    "temperature,location=nowhere_at_all,sensor_id={m} value=21.5",
    "temperature,location={room},sensor_id={m} value=5021.5",
    'temperature,location={room},sensor_id={m} value="hot"',
    "temperature,location={room},sensor_id={m}",
)
_BAD_VALUES = (
    {"value": 5_021.5},
    {"value": "hot"},
    {"type": "nothing_known"},
    {"location": "nowhere at all"},
    {"unit": "kilogram"},
    {"colour": "red"},
    {"location": ["salon"]},
)


def _line(one: Reading, precision: str) -> str:
    head = f"{one.type},location={one.location},sensor_id={one.sensor} value={one.value!r}"
    if one.time is None:
        return head
    return f"{head} {one.time * _PER_MS[precision] if precision in _PER_MS else one.time // 1_000}"


def _object(one: Reading) -> dict[str, object]:
    said = {"type": one.type, "location": one.location, "sensor": one.sensor, "value": one.value}
    return said if one.time is None else {**said, "time": one.time}


async def main(book: Path, url: str, token: str, rooms: Sequence[str]) -> None:
    """Runs all workers until SIGTERM, and to the end of what they have begun."""
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    notes = Book(book)
    async with asyncio.TaskGroup() as group:
        for number in range(_WORKERS):
            group.create_task(Worker(number, notes, url, token, rooms).run(ending))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
