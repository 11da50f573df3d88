"""What clients say: readings whose values and times are nowhere else, and some that nobody can take."""

from __future__ import annotations

import random
import re
import secrets
import time
from collections.abc import Sequence

from tests.chaos.clients.book import Reading

_TYPES = {"temperature": (-40.0, 60.0), "humidity": (0.0, 100.0), "co2": (400.0, 5_000.0)}
_SENSORS = 4
"""Of each room and worker, with times of their own."""
_TIMELESS = 8
"""The same of those without: so many, that two readings of one are never close to each other."""
_LATE, _OLD = 0.1, 0.005
_LATE_MS, _OLD_MS = 600_000, (7_200_000, 10_800_000)

MARK = re.compile(r"bad-[0-9a-f]{16}")
"""By which something that can't be taken is known wherever it is held."""


class Inventor:
    """Invents readings of the sensors of one worker, who gives one message at a time."""

    def __init__(self, name: str, rooms: Sequence[str]) -> None:
        """
        Args:
            name: begins the sensors' ids.
        """
        self.rng = random.SystemRandom()
        self._name = name
        self._rooms = rooms
        self._used: dict[str, set[int]] = {}
        self._turn = 0

    def timed(self, count: int, *, step: int = 1) -> list[Reading]:
        """Readings with times that no other reading of their sensor has.

        Args:
            step: times are whole multiples of so many ms.
        """
        room = self._room()
        found = []
        for n in range(count):
            sensor = f"{self._name}-{n % _SENSORS}"
            time = self._time(f"{room} {sensor}", step)
            found.append(self._reading(self._type(n), room, sensor, time))
        return found

    def timeless(self, count: int) -> list[Reading]:
        """Readings without times, at most one of each sensor."""
        room = self._room()
        found = []
        for _ in range(min(count, _TIMELESS)):
            self._turn += 1
            n = self._turn % _TIMELESS
            found.append(self._reading(self._type(n), room, f"{self._name}-t{n}", None))
        return found

    def mark(self) -> str:
        """A new mark for something bad."""
        return f"bad-{secrets.token_hex(8)}"

    def _room(self) -> str:
        return self.rng.choice(self._rooms)

    @staticmethod
    def _type(n: int) -> str:
        return list(_TYPES)[n % len(_TYPES)]

    def _reading(self, kind: str, room: str, sensor: str, time: int | None) -> Reading:
        return Reading(kind, room, sensor, time, self.rng.uniform(*_TYPES[kind]))

    def _time(self, sensor: str, step: int) -> int:
        used = self._used.setdefault(sensor, set())
        while True:
            moment = (time.time_ns() // 1_000_000 - self._ago()) // step * step
            if moment not in used:
                used.add(moment)
                return moment

    def _ago(self) -> int:
        kind = self.rng.random()
        if kind < _LATE:
            return self.rng.randrange(_LATE_MS)
        if kind < _LATE + _OLD:
            return self.rng.randrange(*_OLD_MS)
        return self.rng.randrange(3_000)
