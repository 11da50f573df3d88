"""What the kernel says of its clock: adjtimex(2), read only."""

from __future__ import annotations

import ctypes
import sys
import time

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5
_APART_S = 1.0


class _Timeval(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("usec", ctypes.c_long))


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", _Timeval),
        ("tick", ctypes.c_long),
        ("rest", ctypes.c_byte * 256),
    )


def synchronised() -> bool | None:
    """Whether the clock that we read is synchronised with a time server; None where the kernel does not say.

    A process may be shown another clock than the kernel's own (a library that was preloaded). Of that one the kernel
    says nothing.
    """
    if not sys.platform.startswith("linux"):
        return None
    said = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(said))
    except (OSError, AttributeError):
        return None
    if state < 0 or abs(said.time.sec - time.time()) > _APART_S + 1:
        return None
    return state != _TIME_ERROR and not said.status & _STA_UNSYNC
