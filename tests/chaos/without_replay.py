"""The daemon with the replay from the checkpoint switched off, so that the checker is seen to see a loss.

What a failover loses is caught by more than one net: the replay, what is written again for series that vanished, the
comparison with the log before anything is truncated, and what is written back from the archive. All are cut: a new
master is believed to have what the old one had acknowledged, and no reading is ever found lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from iotd.archive.repair import Mended, Readings, Repair
from iotd.archive.restore import Restorer
from iotd.cli import main
from iotd.model.series import Series
from iotd.shards.checkpoint import Checkpoint, Found
from iotd.shards.connection import Connection
from iotd.shards.losses import Losses

_read = Checkpoint.read


async def _go_on(self: Checkpoint) -> Found:
    # as a client does that trusts every acknowledgement: what was acknowledged is not sent again
    found = await _read(self)
    return Found(found.value, max(found.position or 0, self._partition.positions.acknowledged))


async def _nothing_vanished(self: Losses, connection: Connection, start: int) -> bool:
    return False


async def _nothing_lost(self: Repair, doubts: Sequence[Readings], upto: int) -> Mended:
    return Mended([], 0)


def _not_written_back(self: Restorer, series: Series, first: int, last: int) -> None:
    return


if __name__ == "__main__":
    Checkpoint.read = _go_on  # type: ignore[method-assign]
    Losses.mend = _nothing_vanished  # type: ignore[method-assign]
    Repair.mend = _nothing_lost  # type: ignore[method-assign]
    Restorer.add = _not_written_back  # type: ignore[method-assign]
    main()
