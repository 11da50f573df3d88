"""The log's files while the daemon is down: what is in them, and what harm costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from iotd.log.disk import Disk
from iotd.log.reader import Reader, Tables
from iotd.log.recovery import recover, translations
from iotd.model.series import Series

Records = dict[tuple[str, int], list[tuple[Series, int, float]]]
"""By partition and sequence: the readings of each record, as series, time (ms) and value."""


class _Numbers:
    """Numbers the series that the log describes, as they come."""

    def __init__(self) -> None:
        self.series: list[Series] = []
        self._numbers: dict[bytes, int] = {}

    def describe(self, number: int) -> bytes:
        raise LookupError(number)

    def number(self, description: bytes) -> int:
        if description not in self._numbers:
            self._numbers[description] = len(self.series)
            self.series.append(Series(*json.loads(description)[:4]))
        return self._numbers[description]


def records(folder: Path) -> Records:
    """All records that can be read."""
    disk, numbers = Disk(), _Numbers()
    found = recover(folder, disk)
    reader = Reader(folder, disk, Tables(-1, translations(found, numbers)))
    there: Records = {}
    for partition, places in found.places.items():
        for record in reader.read(places).records:
            columns = zip(record.series.tolist(), record.times.tolist(), record.values.tolist(), strict=True)
            there[found.partitions[partition], record.sequence] = [
                (numbers.series[number], time, value) for number, time, value in columns
            ]
    return there


@dataclass
class Lost:
    """What was taken out of a log.

    Attributes:
        records: by partition and sequence, what the log had and has no more.
    """

    records: Records = field(default_factory=dict)

    def unnamed(self, named: list[tuple[str | None, int, int]]) -> list[tuple[str, int]]:
        """Partition and sequence of the records that none of these (partition, first, last) names."""
        return [
            (partition, sequence)
            for partition, sequence in self.records
            if not any(p == partition and first <= sequence <= last for p, first, last in named)
        ]


@contextmanager
def harming(folder: Path) -> Iterator[Lost]:
    """Meanwhile the log's files are harmed; afterwards what that has cost is known."""
    before = records(folder)
    lost = Lost()
    yield lost
    after = records(folder)
    lost.records = {place: readings for place, readings in before.items() if place not in after}
    # what was truncated may be there again
    altered = [place for place, readings in after.items() if before.get(place, readings) != readings]
    assert not altered, f"the log has other readings than before: {altered[:3]}"
