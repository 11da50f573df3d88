"""The accumulator: gathers small messages for a moment, so that many readings share one record and one fsync.

Every fsync of the log writes a page of 4 KiB or more, so how long we wait for more readings decides how fast an SD card
wears out: 45 sensors that each speak once a second, at a moment of their own, would write 16 GB a day without it. One
who waits for the answer of a single reading is not kept longer than ``answer_s`` by it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iotd.log.base import Append, Log
from iotd.model.arrays import columns_of
from iotd.model.batch import Batch

_MANY = 2_048
"""Readings of one location that need not wait for more."""


@dataclass(slots=True)
class _Gathered:
    """What was gathered of one location: whole batches, and single readings since the last of them."""

    batches: list[Batch] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    count: int = 0

    def close_singles(self, location: str) -> None:
        """Makes a batch of the single readings, so that what follows comes after them."""
        if self.numbers:
            self.batches.append(
                Batch(
                    location,
                    np.array(self.numbers, np.int32),
                    np.array(self.times, np.int64),
                    np.array(self.values, np.float64),
                )
            )
            self.numbers, self.times, self.values = [], [], []


class Accumulator:
    """Gathers the readings of all locations, and appends them to the log together, a record for each location.

    Readings of one location come into the log in the order of the calls.

    Attributes:
        appended: readings that are in the log since the start, by location.
    """

    def __init__(self, log: Log, *, linger_s: float, answer_s: float) -> None:
        """
        Args:
            linger_s: how long readings may wait for others when nobody waits for them, in seconds.
            answer_s: the same while somebody does.
        """
        self.linger_s = linger_s
        self.answer_s = answer_s
        self.appended: Counter[str] = Counter()
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._gathered: dict[str, _Gathered] = {}
        self._positions: dict[str, bytes] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when the timer rings; uvloop's handles can't be asked when they are due at once

    def add(self, location: str, number: int, time: int, value: float) -> asyncio.Future[None]:
        """Gathers one reading, for which somebody waits; the future is done when it is in the log.

        Args:
            number: of its series, in the catalogue.
            time: ms.
        """
        its = self._of(location)
        its.numbers.append(number)
        its.times.append(time)
        its.values.append(value)
        its.count += 1
        return self._waiter(its.count, waits=True)

    def add_batches(
        self, batches: Sequence[Batch], positions: Mapping[str, bytes], *, waits: bool
    ) -> asyncio.Future[None]:
        """Gathers batches, and the sources' positions behind them; the future is done when all are in the log, where
        they come together.

        Args:
            waits: whether somebody waits for it.
        """
        most = 0
        for batch in batches:
            its = self._of(batch.location)
            its.close_singles(batch.location)
            if len(batch):
                its.batches.append(batch)
            its.count += len(batch)
            most = max(most, its.count)
        self._positions.update(positions)
        return self._waiter(most, waits=waits)

    def flush(self) -> None:
        """Appends what was gathered now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiters:
            return
        gathered, self._gathered = self._gathered, {}
        positions, self._positions = self._positions, {}
        waiters, self._waiters = self._waiters, []
        appends = []
        for location, its in gathered.items():
            its.close_singles(location)
            if its.batches:
                whole = _joined(its.batches)
                appends.append(Append(location, whole.series, whole.times, whole.values))
        committed = self._log.append_many(appends, list(positions.items()))
        committed.add_done_callback(lambda c: self._committed(appends, waiters, c))

    def append(self, batches: Sequence[Batch], positions: Mapping[str, bytes]) -> asyncio.Future[None]:
        """Appends large batches at once, behind what was gathered; the future is done when all are in the log, where
        they come together."""
        self.flush()
        appends = [Append(one.location, one.series, one.times, one.values) for one in batches if len(one)]
        committed = self._log.append_many(appends, list(positions.items()))
        waiter: asyncio.Future[None] = self._loop.create_future()
        committed.add_done_callback(lambda c: self._committed(appends, [waiter], c))
        return waiter

    def _committed(
        self, appends: list[Append], waiters: list[asyncio.Future[None]], committed: asyncio.Future[Any]
    ) -> None:
        if not committed.cancelled() and committed.exception() is None:
            for append in appends:
                self.appended[append.location] += len(append.series)
        _settle(waiters, committed)

    def _of(self, location: str) -> _Gathered:
        its = self._gathered.get(location)
        if its is None:
            its = self._gathered[location] = _Gathered()
        return its

    def _waiter(self, count: int, waits: bool) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        if count >= _MANY:
            self.flush()
        else:
            at = self._loop.time() + (self.answer_s if waits else self.linger_s)
            if self._timer is None or self._due > at:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer, self._due = self._loop.call_at(at, self.flush), at
        return waiter


def _joined(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    return Batch(batches[0].location, *columns_of(batches))


def _settle(waiters: list[asyncio.Future[None]], committed: asyncio.Future[Any]) -> None:
    # each has a future of its own, so that one who is cancelled cancels nobody else
    error = asyncio.CancelledError() if committed.cancelled() else committed.exception()
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        elif isinstance(error, asyncio.CancelledError):
            waiter.cancel()
        else:
            waiter.set_exception(error)
