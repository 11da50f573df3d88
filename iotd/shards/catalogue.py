"""What shards need of the parts before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from iotd.model.batch import Batch
from iotd.model.series import Found, Series


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

    def labels(self, series: Series) -> Mapping[str, str]:
        """The labels that a series has in a shard: what is known of it."""
        ...

    async def recover(self, found: Sequence[Found]) -> None:
        """Registers series that a shard has and this does not know; durable when it returns.

        Raises:
            StateError: it can't be written.
        """

    def of_location(self, location: str) -> Sequence[int]:
        """The numbers of a location's series."""
        ...


class Refuse(Protocol):
    """Holds readings that a shard refuses for good, each with its reason; they are on disk when it returns."""

    async def __call__(self, batch: Batch, reasons: Sequence[str]) -> None:
        """
        Raises:
            StateError: they can't be held now.
        """
