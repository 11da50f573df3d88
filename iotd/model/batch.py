"""Readings as arrays: a reading never becomes an object of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # configuration and `iotd status` need no arrays
    import numpy as np
    from numpy.typing import NDArray

Times: TypeAlias = "NDArray[np.int64]"
"""Milliseconds since the epoch."""
Values: TypeAlias = "NDArray[np.float64]"
"""Readings, each in its series' unit."""
