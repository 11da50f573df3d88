"""Epochs: which history a sequence belongs to, and what a checkpoint therefore proves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from iotd.log.base import Epoch

KEPT = 1000
"""Epochs that are remembered; a checkpoint of an older one proves nothing."""
IN_SEGMENT = 16
"""Of these so many are also at the head of every segment, should the file that holds all be lost."""


def chain(epochs: Iterable[Epoch]) -> list[Epoch]:
    """The newest epochs that follow each other without a hole: where one ends, only the next one can tell."""
    by_ordinal: dict[int, Epoch | None] = {}
    for epoch in epochs:
        by_ordinal[epoch.ordinal] = None if epoch.ordinal in by_ordinal else epoch
    found: list[Epoch] = []
    ordinal = max(by_ordinal, default=0)
    while (known := by_ordinal.get(ordinal)) is not None and len(found) < KEPT:
        found.append(known)
        ordinal -= 1
    return found[::-1]


def last_of(epochs: Sequence[Epoch], epoch_id: str, partition: int | None, end: int) -> int | None:
    """The last sequence a partition has of an epoch, ``end`` for the present one; None for an unknown epoch.

    A partition that the next epoch does not list had given nothing when that one began.
    """
    for at, epoch in enumerate(epochs):
        if epoch.id == epoch_id:
            following = epochs[at + 1 : at + 2]
            if not following:
                return end
            return 0 if partition is None else following[0].firsts.get(partition, (1, 0))[0] - 1
    return None
