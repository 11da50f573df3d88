"""Times and values as decimal text of one width, an array at a time.

All texts of an array have the same width, so that they can be put into ready-made commands in one operation. Zeros fill
them up where they do not count: behind the decimal point, or in an exponent, never in front. Any parser of JSON numbers
reads them, and reads the very double they were made of. Most are widened by an exponent of zero, ``21.37e000``, for
zeros behind the point are digits to a parser, and of more than nineteen the one of RedisTimeSeries reads at a tenth of
its speed.
"""

from __future__ import annotations

import numpy as np
import orjson
from numpy.typing import NDArray

from iotd.model.batch import Times, Values
from iotd.wire.fields import alike, fields

_SHORT = 8
_WHOLE = 1000
_STEPS = 1000  # to one whole: three decimals

_HEADS = [b"%d." % whole for whole in range(_WHOLE)] + [b"-%d." % whole for whole in range(_WHOLE)]
_HEAD = np.array([int.from_bytes(head, "little") for head in _HEADS], np.uint64)
_SHIFT = np.array([8 * len(head) for head in _HEADS], np.uint64)
_TAIL = np.array([int.from_bytes(b"%03d00000" % step, "little") for step in range(_STEPS)], np.uint64)

_LONGEST = 24
"""Characters of the longest double in its shortest form: -2.2250738585072014e-308."""
_COMMA, _E = b",e"
_ZERO = b"0"


def _filling(width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    # by length of the text: the bytes of a hole that belong to it, and what fills the others
    rows = [_ZERO * (width - n) if width - n < 2 else b"e".ljust(width - n, _ZERO) for n in range(width + 1)]
    keep = [b"\xff" * n + bytes(width - n) for n in range(width + 1)]
    return tuple(  # type: ignore[return-value]
        np.frombuffer(b"".join(some), np.uint8).reshape(-1, width)
        for some in (keep, [row.rjust(width, b"\0") for row in rows])
    )


_FILLINGS = {width: _filling(width) for width in range(8, _LONGEST + 1, 8)}


def of_times(times: Times, width: int) -> NDArray[np.void]:
    """The times' decimal texts, dtype ``V{width}``; all must be of that width."""
    listed = orjson.dumps(np.ascontiguousarray(times), option=orjson.OPT_SERIALIZE_NUMPY)
    return np.ndarray((len(times),), f"V{width}", listed, offset=1, strides=(width + 1,))


def of_values(values: Values) -> NDArray[np.void]:
    """The values' decimal texts, dtype ``V8``, ``V16`` or ``V24``; read back, each is the same double.

    Below 1000 and with three decimals at most, as sensors round, a text is eight bytes, made of two looked-up parts;
    this is a sixth of what the general way costs.

    Args:
        values: shape (n,), finite, n at least 1.
    """
    size = np.abs(values)
    if (size < _WHOLE).all():
        steps = np.rint(size * _STEPS)
        # a decimal's double is the correctly rounded quotient, so equality means that these decimals are all of it
        if (steps / _STEPS == size).all():
            return _short(values, steps)
    return _any(values)


def _short(values: Values, steps: Values) -> NDArray[np.void]:
    whole, rest = np.divmod(steps.astype(np.uint32), np.uint32(_STEPS))
    head = whole + np.uint32(_WHOLE) * np.signbit(values)
    # little-endian words: what is shifted beyond the eighth byte are surplus zeros
    words: NDArray[np.uint64] = _HEAD[head] | (_TAIL[rest] << _SHIFT[head])
    return words.astype("<u8", copy=False).view(f"V{_SHORT}")


def _any(values: Values) -> NDArray[np.void]:
    listed = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY) + bytes(_LONGEST)
    text = np.frombuffer(listed, np.uint8)
    ends = np.append(np.flatnonzero(text == _COMMA), len(text) - 1 - _LONGEST)
    starts = np.empty_like(ends)
    starts[0] = 1
    starts[1:] = ends[:-1] + 1
    lengths = ends - starts
    width = -(-int(lengths.max()) // 8) * 8  # few widths, so that layouts are met again
    # each text with what follows it in the list, which is then wiped out
    found = fields(text, width)[starts].view(np.uint64).reshape(len(values), -1)
    keep, fill = (table.view(np.uint64) for table in _FILLINGS[width])
    found &= keep.take(lengths, axis=0)
    found |= fill.take(lengths, axis=0)
    bytes_of = found.view(np.uint8)
    if b"e" in listed:
        _widen_exponents(text, np.flatnonzero(text == _E), starts, ends, bytes_of)
    return bytes_of.view(f"V{width}").reshape(-1)


def _widen_exponents(
    text: NDArray[np.uint8],
    exponents: NDArray[np.intp],
    starts: NDArray[np.intp],
    ends: NDArray[np.intp],
    out: NDArray[np.uint8],
) -> None:
    # the digits of the exponent go to the end of the hole, zeros between them and its sign
    rows = np.searchsorted(starts, exponents, "right") - 1
    digits = exponents + 1 + (text[exponents + 1] < _ZERO[0])
    width = out.shape[1]
    flat = out.reshape(-1)
    fronts, tails = digits - starts[rows], ends[rows] - digits
    for length, some in alike(fronts):
        out[rows[some], length:] = _ZERO[0]
    for length, some in alike(tails):
        fields(flat, length)[(rows[some] + 1) * width - length] = fields(text, length)[digits[some]]
