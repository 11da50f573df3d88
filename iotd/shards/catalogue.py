"""What shards need of the parts before them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from iotd.model.series import Series


class Catalogue(Protocol):
    """The series of all locations, by number; numbers are only ever added."""

    @property
    def keys(self) -> Sequence[bytes]:
        """Redis keys by number."""
        ...

    @property
    def newest(self) -> NDArray[np.int64]:
        """By number: newest time (ms) that was appended to the log, hugely negative before the first; may be longer
        than :attr:`keys`."""
        ...

    def series(self, number: int) -> Series:
        """The series of a number."""
        ...

    def number_of(self, series: Series) -> int | None:
        """The number of a series; None where it was never registered."""
        ...

    def of_location(self, location: str) -> Sequence[int]:
        """The numbers of a location's series."""
        ...


class Held(Protocol):
    """Keeps what a shard refuses for good, with the reason."""

    def add(self, letters: Iterable[Mapping[str, Any]], reason: str) -> int:
        """Keeps one letter per reading, durably; blocks meanwhile. Returns how many.

        Raises:
            OSError: they are not kept.
        """
        ...
