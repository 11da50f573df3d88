"""A client with `iotd.Producer`, as a process of its own: `python -m tests.chaos.clients.python BOOK STATE ROOM…`.

Several tasks, some over one producer that waits as long as it takes, and one over a producer that does not: it puts its
readings again, with their times, or gives them up. SIGTERM ends it once what is under way is acknowledged.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import iotd
from iotd.model.errors import StateError
from iotd.producer import Held, reading
from tests.chaos.clients.book import Book, Reading
from tests.chaos.clients.invention import Inventor

_TASKS = 3
_PAUSE_S = (0.02, 0.3)
_IMPATIENT_S = 1.0
_GIVES_UP = 0.1


class Task:
    """Gives one message after the other."""

    def __init__(self, name: str, book: Book, producer: iotd.Producer, rooms: Sequence[str]) -> None:
        self._invent = Inventor(name, rooms)
        self._book = book
        self._producer = producer

    async def run(self, ending: asyncio.Event) -> None:
        """Until it is to end."""
        rng = self._invent.rng
        while not ending.is_set():
            readings = self._invent.timed(rng.choice((1, 1, 1, 3, 10)))
            bad = [self._invent.mark()] if rng.random() < 0.05 else []
            number = self._book.give(readings, bad=bad)
            while True:
                self._book.tries(number)
                try:
                    await self._put(readings, bad)
                except Held:
                    self._book.done(number)
                    break
                except StateError:  # no answer in time
                    if rng.random() < _GIVES_UP:
                        break
                else:
                    self._book.done(number)
                    break
            with suppress(TimeoutError):
                async with asyncio.timeout(rng.uniform(*_PAUSE_S)):
                    await ending.wait()

    async def _put(self, readings: Sequence[Reading], bad: Sequence[str]) -> None:
        if len(readings) == 1 and not bad:
            one = readings[0]
            await self._producer.put(one.type, one.location, one.sensor, one.value, time=one.time)
            return
        said = [reading(one.type, one.location, one.sensor, one.value, time=one.time) for one in readings]
        said += [reading("temperature", readings[0].location, mark, 5_021.5) for mark in bad]
        await self._producer.put_many(said)


async def main(book: Path, state: Path, rooms: Sequence[str]) -> None:
    """Runs all tasks until SIGTERM, and to the end of what they have begun."""
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    notes = Book(book)
    async with (
        iotd.Producer(state) as patient,
        iotd.Producer(state, timeout=_IMPATIENT_S) as impatient,
        asyncio.TaskGroup() as group,
    ):
        for number in range(_TASKS):
            group.create_task(Task(f"p{number}", notes, patient, rooms).run(ending))
        group.create_task(Task(f"p{_TASKS}", notes, impatient, rooms).run(ending))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
