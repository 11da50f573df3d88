"""The calibration of a query: the one place where raw values become true ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from iotd.model.aggregate import Aggregation, Piece, needs
from iotd.model.batch import Times, Values
from iotd.model.calibration import RAW, Calibration, Calibrations, Line, calibrated, raw_needed
from iotd.model.series import Series
from iotd.stores.base import Found


class Calibrating:
    """Calibrates readings and what servers computed of them.

    Attributes:
        applied: whether any value so far is another than the raw one.
    """

    def __init__(self, read: Callable[[], Calibrations]) -> None:
        """
        Args:
            read: blocking; how series are calibrated.
        """
        self.applied = False
        self._read = read
        self._calibrations = Calibrations()
        self._known: dict[Series, Calibration] = {}

    async def learn(self) -> None:
        """Finds out how series are calibrated; before, all is raw.

        Raises:
            StateError: it can't be read.
        """
        self._calibrations = await asyncio.to_thread(self._read)

    def of(self, series: Series) -> Calibration:
        """The calibration of a series."""
        if (known := self._known.get(series)) is None:
            known = self._known[series] = self._calibrations.of(series)
        return known

    def readings(self, found: Found) -> Found:
        """The true values of raw readings."""
        if not self._calibrations:
            return found
        return {series: (times, self._readings(series, times, values)) for series, (times, values) in found.items()}

    def _readings(self, series: Series, times: Times, values: Values) -> Values:
        true = self.of(series).readings(times, values)
        self.applied |= true is not values
        return true

    def buckets(self, what: Aggregation, line: Line, raw: Mapping[Aggregation, Values]) -> Values:
        """The aggregation of true values, of buckets in which one line holds; see :func:`calibrated`."""
        if line == RAW:
            return raw[what]
        true = calibrated(what, line, raw)
        self.applied |= what != "count" and bool(len(true))
        return true

    def hours(self, series: Series, hours: Times, raw: Mapping[Aggregation, Values]) -> Mapping[Aggregation, Values]:
        """The aggregations of hours (starts, ms, rising) of which only the raw ones are known: by their first lines."""
        if not self.of(series):
            return raw
        found = {need: values.copy() for need, values in raw.items()}
        for where, line in self.of(series).shares(hours):
            part = {need: values[where] for need, values in raw.items()}
            for need in raw:
                found[need][where] = self.buckets(need, line, part)
        return found

    def grown(self, series: Series, hours: Times, raw: Values) -> Values:
        """What a counter has grown by in hours, likewise."""
        if not self.of(series):
            return raw
        found = raw.copy()
        for where, line in self.of(series).shares(hours):
            found[where] *= line.factor
            self.applied |= line != RAW
        return found

    def piece(self, what: Aggregation, line: Line, raw: Mapping[Aggregation, float]) -> Piece:
        """A part of a bucket, in which one line holds, as :func:`iotd.model.aggregate.combine` takes it."""
        self.applied |= line != RAW
        return {need: calibrated(need, line, raw) for need in needs(what)}


def asked(what: Aggregation, lines: Iterable[Line]) -> Sequence[Aggregation]:
    """The aggregations of raw values that :meth:`Calibrating.piece` takes for these lines, each once."""
    return list(dict.fromkeys(raw for line in lines for need in needs(what) for raw in raw_needed(need, line)))
