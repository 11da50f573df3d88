"""Which readings are due: a simulated sensor behaves like a device with memory.

Times lie on whole multiples of the interval since the epoch. What lies within ``catch_up`` before now is due at the
full interval; what is older the device remembers only at the coarser history step, and nothing that is older than both
``catch_up`` and ``history``. So a stop leaves no hole in the grid, and a hole is always a loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from iotd.config.tree import Tree
from iotd.model.batch import Times
from iotd.model.instants import milliseconds

_PRESENT = 10
"""Intervals that always count as the present, so that a loop that is late never takes a live reading for an old one."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The whole multiples of ``step`` in (``after``, ``upto``], all in ms.

    Iterating gives them in order, in arrays of at most ``at_once`` times; ``reversed`` gives the same arrays, the last
    one first.
    """

    after: int
    upto: int
    step: int
    at_once: int

    @property
    def count(self) -> int:
        """How many times these are."""
        return max(0, self.upto // self.step - self.after // self.step)

    def __iter__(self) -> Iterator[Times]:
        return map(self._from, self._starts)

    def __reversed__(self) -> Iterator[Times]:
        return map(self._from, reversed(self._starts))

    @property
    def _starts(self) -> range:
        return range(self.after // self.step + 1, self.upto // self.step + 1, self.at_once)

    def _from(self, start: int) -> Times:
        return np.arange(start, min(start + self.at_once, self.upto // self.step + 1), dtype=np.int64) * self.step


@dataclass(frozen=True, slots=True)
class Schedule:
    """The device's memory, in ms: ``interval`` and ``step`` are between readings, the others before now."""

    interval: int
    catch_up: int
    step: int
    history: int

    @classmethod
    def of(cls, settings: Tree) -> Schedule:
        """The schedule that the settings describe; the step becomes a whole multiple of the interval."""
        simulator = settings.simulator
        interval = milliseconds(settings.sensors.interval)
        return cls(
            interval=interval,
            catch_up=max(milliseconds(simulator.catch_up), _PRESENT * interval),
            step=-(-milliseconds(simulator.history_step) // interval) * interval,
            history=round(simulator.history_days * 86_400 * 1000),
        )

    def oldest(self, now: int) -> int:
        """What is older than this the device does not remember."""
        return now - max(self.history, self.catch_up)

    def due(self, after: int, now: int, at_once: int) -> Iterator[Times]:
        """What is due in (``after``, ``now``], in order, in arrays of at most ``at_once`` times."""
        return chain(*self._grids(after, now, at_once))

    def count(self, after: int, now: int) -> int:
        """How many times :meth:`due` gives."""
        return sum(grid.count for grid in self._grids(after, now, 1))

    def next(self, now: int) -> int:
        """The first time of the grid after now."""
        return (now // self.interval + 1) * self.interval

    def _grids(self, after: int, now: int, at_once: int) -> tuple[Grid, Grid]:
        fine = max(after, now - self.catch_up)
        return Grid(after, min(fine, now), self.step, at_once), Grid(fine, now, self.interval, at_once)
