"""The nemesis: one fault after the other, drawn by a seed, sometimes two at once, until the time is up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from random import Random
from time import monotonic

from tests.chaos.faults import FAULTS
from tests.chaos.world import World

_HOLD_S = (0.5, 8.0)
_CALM_S = (0.0, 4.0)
_TWO_AT_ONCE = 0.25
_NOT_MENDED = 0.2
"""How often the next fault strikes before everything has recovered from the one before."""


class Nemesis:
    """Strikes a world; :attr:`struck` counts by fault."""

    def __init__(self, world: World, rng: Random, tell: Callable[[str], None], only: Iterable[str] = ()) -> None:
        """
        Args:
            only: names of the faults to inject; all when empty.
        """
        self.struck: Counter[str] = Counter()
        self._world = world
        self._rng = rng
        self._tell = tell
        self._names = sorted(only) or sorted(FAULTS)
        if not world.has_clock:
            self._names = [name for name in self._names if not name.startswith("clock")]
            tell("no libfaketime here: the clock does not step")
        self._bag: list[str] = []

    async def run(self, seconds: float) -> None:
        """Strikes until so many seconds have passed."""
        end = monotonic() + seconds
        while monotonic() < end:
            await self.strike(2 if self._rng.random() < _TWO_AT_ONCE else 1)
            if self._rng.random() >= _NOT_MENDED:
                await self._world.mend()
            await asyncio.sleep(self._rng.uniform(*_CALM_S))

    async def strike(self, at_once: int) -> None:
        """Strikes with so many faults, holds them for a while, and heals them."""
        async with AsyncExitStack() as faults:
            for _ in range(at_once):
                name = self._draw()
                self.struck[name] += 1
                what = await faults.enter_async_context(FAULTS[name](self._world, self._rng))
                self._tell(f"{name}: {what}")
            await asyncio.sleep(self._rng.uniform(*_HOLD_S))
        self._world.look_after_daemon()

    def _draw(self) -> str:
        # each once before any comes again, so that none is rare
        if not self._bag:
            self._bag = self._rng.sample(self._names, len(self._names))
        return self._bag.pop()
