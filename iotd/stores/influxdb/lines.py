"""Line protocol: from the bytes of Redis, some passes over them and no loop in Python; and tags of any text.

https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from iotd.model.series import Series
from iotd.stores.points import Points
from iotd.wire.fields import copy, fields
from iotd.wire.pairs import Pairs

_IMPOSSIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]|\\\Z|%(?=[0-9A-Fa-f]{2})")
_ENCODED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


def lines(batch: Iterable[Points]) -> bytes:
    """Line protocol of a batch, times in ms; the values are the bytes that came, so nothing is rounded on the way."""
    return b"\n".join([_lines(points) for points in batch])


def tag(text: str) -> str:
    """A text as the value of a tag that InfluxDB can hold; :func:`text_of` gives the text again.

    Nearly every text stays as it is. A tag can't hold control characters, nor end in a backslash (the sign behind it
    would be taken for escaped, and InfluxDB 2.7 then stores a tag of another name or none): these are
    percent-encoded, and so is a ``%`` that would be read as such a code.
    """
    return _IMPOSSIBLE.sub(_encoded, text)


def text_of(tag: str) -> str:
    """The text that :func:`tag` made a tag of; of a tag that others wrote, what it says with its codes resolved."""
    return _ENCODED.sub(_decoded, tag) if "%" in tag else tag


def _lines(points: Points) -> bytes:
    resp, head = np.frombuffer(points.resp, np.uint8), _head(points.sensor, points.sensor.unit)
    pairs = Pairs.of(resp)
    stops = np.cumsum(pairs.value_widths + pairs.time_widths + (len(head) + 2))
    out = np.empty(int(stops[-1]), np.uint8)
    out[stops - 1] = ord("\n")
    at = stops - 1 - pairs.time_widths
    copy(resp, pairs.times, out, at, pairs.time_widths)
    out[at - 1] = ord(" ")
    at -= 1 + pairs.value_widths
    copy(resp, pairs.values, out, at, pairs.value_widths)
    fields(out, len(head))[at - len(head)] = np.void(head)
    return out[:-1].tobytes()


@lru_cache(maxsize=4096)
def _head(series: Series, unit: str) -> bytes:  # the unit by itself: two series that differ in it only are equal
    tags = {"location": series.location, "sensor_id": series.sensor_id, "unit": unit}
    # a tag without a value is none, and must not be named
    named = "".join(f",{name}={_escaped(tag(text))}" for name, text in tags.items() if text)
    return f"{_escaped(tag(series.type))}{named} value=".encode()


def _escaped(text: str) -> str:
    return re.sub(r"[,= ]", r"\\\g<0>", text)


def _encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def _decoded(match: re.Match[str]) -> str:
    try:
        return bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return match[0]  # not of our making
