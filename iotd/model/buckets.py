"""Buckets of equal length: where each begins, and which one a time belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iotd.model.batch import Times

HOUR = 3_600_000
"""ms."""


@dataclass(frozen=True, slots=True)
class Run:
    """Buckets of one length without a gap: the first begins at ``first``, the last ends at ``last``, ms, included."""

    first: int
    last: int
    width: int

    def __len__(self) -> int:
        return (self.last + 1 - self.first) // self.width

    @property
    def starts(self) -> Times:
        """Where the buckets begin, ms."""
        return np.arange(self.first, self.last + 1, self.width, dtype=np.int64)

    def start_of(self, times: Times) -> Times:
        """Where the bucket of each of these times begins, ms."""
        return self.first + (times - self.first) // self.width * self.width
