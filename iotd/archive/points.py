"""What goes from a shard into the archive: runs of one sensor's samples, as Redis returned them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from iotd.sensors import Sensor


@dataclass(frozen=True, slots=True)
class Points:
    """Samples of one sensor: (time in ms, value as bytes), in time order, never empty."""

    sensor: Sensor
    samples: Sequence[tuple[int, bytes]]

    def __len__(self) -> int:
        return len(self.samples)


def halves(batch: Sequence[Points]) -> tuple[list[Points], list[Points]]:
    """A batch of at least two samples cut in the middle."""
    middle = sum(map(len, batch)) // 2
    left: list[Points] = []
    right: list[Points] = []
    for points in batch:
        if middle <= 0:
            right.append(points)
        elif len(points) <= middle:
            left.append(points)
        else:
            left.append(Points(points.sensor, points.samples[:middle]))
            right.append(Points(points.sensor, points.samples[middle:]))
        middle -= len(points)
    return left, right


def lines(batch: Iterable[Points]) -> bytes:
    """Line protocol, times in ms; the values are the bytes that came from Redis, so nothing is rounded on the way.

    https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
    """
    return b"\n".join(_lines(batch))


def _lines(batch: Iterable[Points]) -> Iterator[bytes]:
    for points in batch:
        head = _head(points.sensor)
        yield b"\n".join([b"%b%b %d" % (head, value, time) for time, value in points.samples])


def _head(sensor: Sensor) -> bytes:
    tags = f"location={_escaped(sensor.location)},sensor_id={sensor.sensor_id},unit={sensor.unit}"
    return f"{sensor.type},{tags} value=".encode()


def _escaped(tag: str) -> str:
    for sign in ",= ":
        tag = tag.replace(sign, "\\" + sign)
    return tag
