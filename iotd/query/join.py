"""Where the readings of a series are: the rule by which shard and archive are joined, as pure functions.

What the archiver promises (:mod:`iotd.archive.state`): every reading up to a series' watermark is in the archive,
apart from the ranges of it that are noted as dirty; every reading after it is in the shard. So:

- up to the **boundary** the archive answers, after it the shard. The boundary is the watermark, or the last ms before
  the shard's first reading where that is later (the shard came back empty, or retention has passed the watermark);
- in a dirty range up to the boundary both answer, and where both have a reading at the same time the shard's stands,
  because what is late, or was written again, is there first;
- where no watermark is known (no state directory here), the shard is taken to be whole from its first reading on;
- in a **doubtful** range, where the archive was found to hold less than it did, both answer as in a dirty one, and what
  lies before the shard's first reading may be missing.

The boundary never depends on retention while there is a watermark: old readings come from the archive though the shard
may still hold them, so nothing can expire under a query that streams. Without one, :func:`overtaken` says what did.
All times are ms since the epoch, and ranges hold both their ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from iotd.model.arrays import concatenated
from iotd.model.batch import Times, Values
from iotd.model.instants import ENDLESS

Source = Literal["archive", "shard", "both"]


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """From ``first`` to ``last``, ms, both included."""

    first: int
    last: int

    def within(self, first: int, last: int) -> Range | None:
        """What of it lies from ``first`` to ``last``; None when nothing does."""
        low, high = max(self.first, first), min(self.last, last)
        return Range(low, high) if low <= high else None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one series when a query begins.

    Attributes:
        mark: its watermark, ms; None when it is not known.
        dirty: ranges in which the archive may lack readings, or hold values that have changed since.
        first: time of the first reading that the shard holds, ms; None when it holds none.
        doubt: ranges in which the archive holds less than it did; see :mod:`iotd.query.doubts`.
    """

    mark: int | None = None
    dirty: tuple[Range, ...] = ()
    first: int | None = None
    doubt: tuple[Range, ...] = ()

    @property
    def boundary(self) -> int:
        """The last ms that the archive answers for."""
        if self.first is None:
            return ENDLESS
        return self.first - 1 if self.mark is None else max(self.mark, self.first - 1)


@dataclass(frozen=True, slots=True)
class Reach:
    """Which of the two can be asked now."""

    shard: bool = True
    archive: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """A range, and who answers for it."""

    first: int
    last: int
    source: Source


def parts(known: Known, reach: Reach, first: int, last: int) -> list[Part]:
    """Who answers for the range from ``first`` to ``last``: parts in time order that touch and never overlap.

    Who can't be asked is stood in for by the other; what that leaves open is :func:`missing`'s to say.
    """
    if not reach.shard or not reach.archive:
        if not (reach.shard or reach.archive):
            return []
        return [Part(first, last, "shard" if reach.shard else "archive")]
    boundary = known.boundary
    found: list[Part] = []
    at = first
    # what is doubtful comes from the shard too, where that reaches so far back
    doubtful = [one.within(ENDLESS if known.first is None else known.first, ENDLESS) for one in known.doubt]
    for one in sorted([*known.dirty, *(one for one in doubtful if one)]):
        if (dirty := one.within(at, min(last, boundary))) is None:
            continue
        if at < dirty.first:
            found.append(Part(at, dirty.first - 1, "archive"))
        found.append(Part(dirty.first, dirty.last, "both"))
        at = dirty.last + 1
    if at <= min(last, boundary):
        found.append(Part(at, min(last, boundary), "archive"))
        at = boundary + 1
    if at <= last:
        found.append(Part(at, last, "shard"))
    return found


def missing(known: Known, reach: Reach, first: int, last: int) -> list[Range]:
    """Where readings may be missing from ``first`` to ``last``: who has them can't be asked, or has lost some."""
    upto = min(last, known.first - 1) if reach.shard and known.first is not None else last
    doubt = [one.within(first, upto) for one in known.doubt] if reach.archive else []
    lost = [one for one in doubt if one is not None]
    if reach.shard and reach.archive:
        return lost
    whole = Range(first, last)
    if not (reach.shard or reach.archive):
        return [whole]
    if reach.shard:
        if known.first is None:
            return [whole]
        gap = whole.within(first, known.first - 1)
        return [gap] if gap else []
    if known.mark is None:
        return [whole]
    dirty = [one.within(first, min(last, known.mark)) for one in known.dirty]
    after = whole.within(known.mark + 1, last)
    return sorted(r for r in (*dirty, after, *lost) if r is not None)


def overtaken(known: Known, part: Part, first_now: int | None) -> Range | None:
    """What the shard has let go of, between the plan and the reading of a part of it, and the archive has by now.

    Args:
        first_now: the shard's first reading when the part was read, ms; None when it holds none any more.
    """
    if part.source != "shard" or known.first is None:
        return None
    now = ENDLESS if first_now is None else first_now
    if now <= max(known.first, part.first):
        return None
    return Range(part.first, min(part.last, now - 1))


def assemble(
    plan: Iterable[Part], held: Iterable[tuple[Times, Values]], archived: tuple[Times, Values] | None
) -> tuple[Times, Values] | None:
    """The readings of one series, in time order; None when there are none.

    Args:
        plan: the series' :func:`parts`.
        held: what the shard gave, for each part in which it is asked.
        archived: what the archive gave; of what lies outside the parts in which it is asked nothing is taken.
    """
    pieces = iter(held)
    joints: list[tuple[Times, Values]] = []
    for part in plan:
        from_shard = None if part.source == "archive" else next(pieces)
        from_archive = None if part.source == "shard" or archived is None else _within(archived, part)
        if from_shard is None:
            samples = from_archive
        elif from_archive is None:
            samples = from_shard
        else:
            samples = merge(from_archive, from_shard)
        if samples is not None and len(samples[0]):
            joints.append(samples)
    return concatenated(joints) if joints else None


def _within(samples: tuple[Times, Values], part: Part) -> tuple[Times, Values]:
    times, values = samples
    low, high = np.searchsorted(times, [part.first, part.last + 1])
    return times[low:high], values[low:high]


def merge(archived: tuple[Times, Values], held: tuple[Times, Values]) -> tuple[Times, Values]:
    """The union of both, in time order, each time once; where both have one, the shard's stands."""
    times, values = concatenated([archived, held])
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    last_of_each = np.ones(len(times), bool)
    last_of_each[:-1] = times[1:] != times[:-1]
    return times[last_of_each], values[last_of_each]


def joined(ranges: Iterable[Range]) -> list[Range]:
    """The same times in as few ranges as there can be, in order."""
    found: list[Range] = []
    for one in sorted(ranges):
        if found and one.first <= found[-1].last + 1:
            found[-1] = Range(found[-1].first, max(found[-1].last, one.last))
        else:
            found.append(one)
    return found
