"""Random curves, pure functions of a salt and the time, of operations that IEEE 754 rounds the same everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from iotd.model.arrays import distinct
from iotd.model.batch import Times, Values
from iotd.model.buckets import HOUR

Salts = NDArray[np.uint64]
"""What makes one random curve another than the next, a number each."""

DAY = 24 * HOUR

_STEP = np.uint64(0x9E3779B97F4A7C15)


def salts(seed: int, names: Sequence[str], channel: str) -> Salts:
    """A salt for each name; another one in each channel."""
    known = {name: _salt(seed, name, channel) for name in set(names)}
    return np.array([known[name] for name in names], np.uint64)


def _salt(seed: int, name: str, channel: str) -> np.uint64:
    digest = hashlib.blake2b(f"{seed}/{channel}/{name}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _mixed(x: Salts) -> Salts:
    # the finalizer of splitmix64 (Steele, Lea, Flood, 2014), on wrapping 64-bit integers
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def unit(x: Salts) -> Values:
    """0 ≤ … < 1, from the upper 53 bits."""
    return (_mixed(x) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def dice(marks: Times, of: Salts, kind: int) -> Values:
    """0 ≤ … < 1 for each mark (int64, shape (M,)) and salt, shape (M, salts); other numbers for another ``kind``."""
    return unit(of[None, :] + (marks.astype(np.uint64) + np.uint64(kind))[:, None] * _STEP)


def noise(t: Times, period: int, of: Salts) -> Values:
    """Smooth noise from -1 to 1, shape (T, salts): random at each whole ``period`` (ms), a smooth curve between."""
    cell = t // period
    part = (t - cell * period) / period
    marks, here = borders(cell[:, 0])
    at = dice(marks, of, period)
    rise = at[1:] - at[:-1]
    out = rise[here]
    out *= part * part * (3.0 - 2.0 * part)
    out += at[here]
    out *= 2.0
    out -= 1.0
    return out


_PAIR = np.arange(2)
_FIRST = np.zeros(1, np.intp)


def borders(cells: Times) -> tuple[Times, NDArray[np.intp]]:
    """The cells' borders, each once, and for each cell the place of its first border; the next is its second."""
    if len(cells) == 1:  # a tick, for which searching costs more than all the rest
        return cells[0] + _PAIR, _FIRST
    low, high = (int(cells.min()), int(cells.max())) if len(cells) else (0, -1)
    if high - low < 2 * len(cells):
        return np.arange(low, high + 2), cells - low
    marks = distinct(np.concatenate((cells, cells + 1)))
    return marks, np.searchsorted(marks, cells)


def wave(t: Times) -> Values:
    """A daily wave from -1 to 1, highest at 0: smooth, and made of products only."""
    part = (t % DAY) / DAY
    rise = np.abs(part * 2.0 - 1.0)
    return rise * rise * (3.0 - 2.0 * rise) * 2.0 - 1.0
