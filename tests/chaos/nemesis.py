"""The nemesis: one fault after the other, drawn by a seed, sometimes two at once, until the time is up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from random import Random
from time import monotonic

from iotd.model.errors import IotdError
from tests.chaos.faults import FAULTS, lacks
from tests.chaos.world import World

_HOLD_S = (0.5, 8.0)
_LONG_HOLD_S = (12.0, 24.0)
_LONG = 0.15
"""How often a fault is held for longer than the daemon has time to tell of it."""
_CALM_S = (0.0, 4.0)
_TWO_AT_ONCE = 0.25
_DESTROYS = {
    "series deleted": "shard",
    "range deleted": "shard",
    "shard flushed": "shard",
    "sample altered": "shard",
    "master restarted empty": "shard",
    "replica replaced by a foreign node": "shard",
    "archive rows deleted": "archive",
    "archive set back": "archive",
    "archive keeps less than there is": "archive",
    "log tail lost": "log",
    "log tail lost with the witness": "log",
    "bit flipped in the log": "log",
    "log file removed under the daemon": "log",
    "log file replaced under the daemon": "log",
    "log folder removed under the daemon": "log",
}
"""Faults that destroy readings, and where. What is destroyed in two places at once nobody can give back: before another
place is struck, all that the one before lacks is there again."""
_NOT_MENDED = 0.2
"""How often the next fault strikes before everything has recovered from the one before."""


class Nemesis:
    """Strikes a world; :attr:`struck` counts by fault."""

    def __init__(
        self,
        world: World,
        rng: Random,
        tell: Callable[[str], None],
        only: Iterable[str] = (),
        hold: float | None = None,
    ) -> None:
        """
        Args:
            only: names of the faults to inject; all when empty.
            hold: seconds for which each is held; None: some, more or fewer.
        """
        self.struck: Counter[str] = Counter()
        self._world = world
        self._rng = rng
        self._tell = tell
        self._hold = hold
        self._names = []
        for name in sorted(only) or sorted(FAULTS):
            if (reason := lacks(name, world)) is not None:
                tell(f"without {name!r}: {reason}")
            else:
                self._names.append(name)
        self._bag: list[str] = []
        self._harmed: set[str] = set()

    async def run(self, seconds: float) -> None:
        """Strikes until so many seconds have passed."""
        end = monotonic() + seconds
        while monotonic() < end:
            well = await self.strike(2 if self._rng.random() < _TWO_AT_ONCE else 1)
            if self._rng.random() >= _NOT_MENDED or not well:
                await self._world.mend()
            await asyncio.sleep(self._rng.uniform(*_CALM_S))

    async def strike(self, at_once: int) -> bool:
        """Strikes with so many faults, holds them for a while, and heals them.

        Returns:
            False where one did not come to its end, as when a server that it had killed did not start.
        """
        world, well = self._world, True
        async with AsyncExitStack() as faults:
            faults.callback(world.striking.clear)
            held: set[str] = set()
            for _ in range(at_once):
                name = self._draw()
                if (place := _DESTROYS.get(name)) is not None:
                    # what it destroys must be elsewhere, and nothing that is held may keep it from getting there
                    if held - {place} or (world.striking and self._harmed - {place}):
                        self._bag.insert(0, name)
                        continue
                    if self._harmed - {place}:
                        await world.whole()
                        self._harmed.clear()
                    self._harmed.add(place)
                    held.add(place)
                self.struck[name] += 1
                world.striking.append(name)
                world.struck.add(name)
                world.mended = False
                try:
                    what = await faults.enter_async_context(FAULTS[name](self._world, self._rng))
                except IotdError as e:
                    what, well = f"broken off: {e}", False
                self._tell(f"{name}: {what}")
            await asyncio.sleep(self._seconds())
        world.look_after_daemon()
        return well

    def _seconds(self) -> float:
        if self._hold is not None:
            return self._hold
        return self._rng.uniform(*(_LONG_HOLD_S if self._rng.random() < _LONG else _HOLD_S))

    def _draw(self) -> str:
        # each once before any comes again, so that none is rare
        if not self._bag:
            self._bag = self._rng.sample(self._names, len(self._names))
        return self._bag.pop()
