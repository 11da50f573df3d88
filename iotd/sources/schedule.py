"""Which readings are due: a simulated sensor behaves like a device with memory.

Times lie on whole multiples of the step since the epoch. What lies within ``catch_up`` before now is due at the full
interval; what is older the device remembers only at the coarser history step, and at most ``history`` of it. So a
stop leaves no hole in the grid, and a hole is always a loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from iotd.settings.tree import Tree
from iotd.sources.signal import Times


@dataclass(frozen=True, slots=True)
class Schedule:
    """The device's memory, in ms: ``interval`` and ``step`` are between readings, the others before now."""

    interval: int
    catch_up: int
    step: int
    history: int

    @classmethod
    def of(cls, settings: Tree) -> Schedule:
        """The schedule that the settings describe."""
        simulator = settings.simulator
        return cls(
            interval=_ms(settings.sensors.interval.total_seconds()),
            catch_up=_ms(simulator.catch_up.total_seconds()),
            step=max(_ms(simulator.history_step.total_seconds()), _ms(settings.sensors.interval.total_seconds())),
            history=_ms(simulator.history_days * 86_400),
        )

    def due(self, after: int, now: int, at_once: int) -> Iterator[Times]:
        """What is due in (``after``, ``now``], in order, in arrays of at most ``at_once`` times."""
        fine_from = max(after, now - self.catch_up)
        after = max(after, now - self.history - self.step)
        yield from grid(after, min(fine_from, now), self.step, at_once)
        yield from grid(max(fine_from, after), now, self.interval, at_once)

    def count(self, after: int, now: int) -> int:
        """How many times :meth:`due` gives."""
        fine_from = max(after, now - self.catch_up)
        after = max(after, now - self.history - self.step)
        coarse = max(0, min(fine_from, now) // self.step - after // self.step)
        return coarse + max(0, now // self.interval - max(fine_from, after) // self.interval)

    def next(self, now: int) -> int:
        """The first time of the grid after now."""
        return (now // self.interval + 1) * self.interval


def grid(after: int, upto: int, step: int, at_once: int) -> Iterator[Times]:
    """The whole multiples of ``step`` in (``after``, ``upto``], in order, in arrays of at most ``at_once``."""
    first, last = after // step + 1, upto // step
    for start in range(first, last + 1, at_once):
        yield np.arange(start, min(start + at_once, last + 1), dtype=np.int64) * step


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
