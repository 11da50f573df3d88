"""The buckets of an aggregation: where each begins, by the clock on the wall.

A bucket of an hour or less begins at whole multiples of its length since the local hour; a longer one since the local
midnight (of Monday, for whole weeks), so that a daily mean is that of a day as people here live it, 23 or 25 hours
long when the clocks change. Each server can count only in equal steps, so the buckets are handed out in runs of equal
length.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from iotd.model.buckets import HOUR, Run
from iotd.model.instants import local_zone, milliseconds
from iotd.query.times import local

_DAY, _WEEK = 24 * HOUR, 7 * 24 * HOUR


def runs(first: int, stop: int, width: int, at_once: int, zone: tzinfo | None = None) -> Iterator[Run]:
    """The buckets that cover ``first`` (included) to ``stop`` (excluded), ms, in runs of at most ``at_once`` buckets.

    Args:
        width: the length of a bucket, ms.
        zone: whose midnight counts; None: the local one.
    """
    zone = zone or local_zone()
    if width <= HOUR or (_DAY % width and width % _DAY):
        offset = _offset(first, zone)
        start = (first + offset) // width * width - offset
        while start < stop:
            count = min(at_once, -(-(stop - start) // width))
            yield Run(start, start + count * width - 1, width)
            start += count * width
        return
    open_run: Run | None = None
    for begins, ends in _by_the_wall(first, stop, width, zone):
        length = ends - begins
        if open_run is not None and length == open_run.width and len(open_run) < at_once:
            open_run = Run(open_run.first, ends - 1, length)
            continue
        if open_run is not None:
            yield open_run
        open_run = Run(begins, ends - 1, length)
    if open_run is not None:
        yield open_run


def _by_the_wall(first: int, stop: int, width: int, zone: tzinfo) -> Iterator[tuple[int, int]]:
    wall = local(first, zone).replace(tzinfo=None)
    midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0)
    if width % _WEEK == 0:
        midnight -= timedelta(days=midnight.weekday())
    elif width > _DAY:
        midnight -= timedelta(days=midnight.toordinal() % (width // _DAY))
    step = timedelta(milliseconds=width)
    at = midnight + (wall - midnight) // step * step
    begins = _instant(at, zone)
    while begins < stop:
        at += step
        ends = _instant(at, zone)
        if ends > max(begins, first):  # a bucket that the clocks skip does not exist
            yield begins, ends
            begins = ends


def _instant(wall: datetime, zone: tzinfo) -> int:
    return round(wall.replace(tzinfo=zone).astimezone(UTC).timestamp()) * 1000


def _offset(ms: int, zone: tzinfo) -> int:
    offset = local(ms, zone).utcoffset()
    return 0 if offset is None else milliseconds(offset)
