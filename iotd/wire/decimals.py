"""Readings as decimal text of one width, an array at a time.

All texts of an array have the same width, so that they can be put into ready-made commands in one operation. They are
filled with zeros behind the decimal point, never in front: any parser of JSON numbers reads them, and reads the very
double they were made of.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SHORT = 8
_WHOLE = 1000
_STEPS = 1000  # to one whole: three decimals

_HEADS = [b"%d." % whole for whole in range(_WHOLE)] + [b"-%d." % whole for whole in range(_WHOLE)]
_HEAD = np.array([int.from_bytes(head, "little") for head in _HEADS], np.uint64)
_SHIFT = np.array([8 * len(head) for head in _HEADS], np.uint64)
_TAIL = np.array([int.from_bytes(b"%03d00000" % step, "little") for step in range(_STEPS)], np.uint64)


def texts(values: NDArray[np.float64]) -> NDArray[np.void]:
    """The values' decimal texts, dtype ``V{width}``, shape as ``values``; read back, each is the same double.

    Below 1000 and with three decimals at most, as sensors round, a text is eight bytes, made of two looked-up parts
    at some nanoseconds each; other values take ``repr``, a hundred times as long.

    Args:
        values: shape (n,), finite, n at least 1.
    """
    size = np.abs(values)
    if not (size < _WHOLE).all():
        return _long(values)
    steps = np.rint(size * _STEPS)
    # a decimal's double is the correctly rounded quotient, so equality means that these decimals are all of it
    if (steps / _STEPS != size).any():
        return _long(values)
    whole, rest = np.divmod(steps.astype(np.uint32), np.uint32(_STEPS))
    head = whole + np.uint32(_WHOLE) * np.signbit(values)
    # little-endian words: what is shifted beyond the eighth byte are surplus zeros
    words: NDArray[np.uint64] = _HEAD[head] | (_TAIL[rest] << _SHIFT[head])
    return words.astype("<u8", copy=False).view(f"V{_SHORT}")


def _long(values: NDArray[np.float64]) -> NDArray[np.void]:
    found = list(map(repr, values.tolist()))
    width = -(-max(map(len, found)) // 8) * 8  # few widths, so that layouts are met again
    return np.array([_filled(text, width).encode() for text in found], f"S{width}").view(f"V{width}")


def _filled(text: str, width: int) -> str:
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text.ljust(width, "0")  # repr always has a point
    return f"{mantissa}e{exponent[0]}{exponent[1:].rjust(width - len(mantissa) - 2, '0')}"
