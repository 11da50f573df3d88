"""What a node was found to have lost: series that vanished, and readings that the log no longer has."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from iotd.config.values import Address
from iotd.log.base import Partition
from iotd.model.instants import NEVER
from iotd.ops.loggers import get_logger
from iotd.shards.catalogue import Catalogue
from iotd.shards.connection import Connection
from iotd.shards.repair import Repair
from iotd.shards.series import Made

log = get_logger(__name__)


class Losses:
    """Notices losses when a node is taken up, and writes again what the log still has.

    Attributes:
        series: numbers of series of which a node lacks readings that the log no longer has, or may lack: what only the
            archive has is to be written back. Who has done that takes them out.
    """

    def __init__(self, partition: Partition, catalogue: Catalogue, made: Made, repair: Repair) -> None:
        self.series: set[int] = set()
        self._partition = partition
        self._catalogue = catalogue
        self._made = made
        self._repair = repair
        # series that had readings before: from which sequence on is not known
        self._earlier = {n for n in catalogue.of_location(partition.name) if catalogue.newest[n] > NEVER}
        self._first: dict[int, int] = {}

    def first_sent(self, numbers: Iterable[int], after: int) -> None:
        """These series were made now, for readings beyond a sequence."""
        for number in numbers:
            self._first.setdefault(number, after + 1)

    def compare(self, proven: int, address: Address) -> None:
        """A node holds everything up to a sequence for certain; is that all that was durable before?"""
        positions = self._partition.positions
        truncated, durable = positions.truncated, positions.durable
        if proven >= durable:  # which never lies before what is truncated
            return
        effect = "all that the log has is written again"
        if proven < truncated:
            self.series.update(self._catalogue.of_location(self._partition.name))
            effect += "; what only the archive has is written back from there"
        log.warning(
            "shard_lost_data",
            shard=self._partition.name,
            node=str(address),
            proven=proven,
            durable=durable,
            truncated=truncated,
            effect=effect,
        )

    async def mend(self, connection: Connection, start: int) -> bool:
        """Looks for series that this node should have, having all up to a sequence, and has not.

        What the log has of them up to there is written again; what lies beyond is sent as ever.

        Returns:
            whether anything was written, which no checkpoint speaks for.

        Raises:
            ShardError: the node does not take it now.
        """
        if start == 0:
            return False
        # a series that was sent for the first time beyond `start` has lost nothing
        suspects = self._earlier | {n for n, first in self._first.items() if first <= start}
        if not suspects:
            return False
        absent = self._made.lacking(np.array(sorted(suspects), np.int32)).tolist()
        if not absent:
            return False
        truncated = self._partition.positions.truncated
        found = await self._repair.from_log(connection, self._partition, absent, start)
        await self._made.make(connection, list(found))
        vanished = {n for n in absent if n in found or self._first.get(n, start + 1) <= truncated}
        if vanished:
            log.warning(
                "series_vanished",
                shard=self._partition.name,
                node=str(connection.address),
                count=len(vanished),
                key=self._catalogue.keys[min(vanished)].decode(),
                written_again=sum(found.values()),
            )
        # of the others it is not known whether they ever were there
        if truncated:
            self.series |= vanished | self._earlier.intersection(absent)
        self._earlier.difference_update(absent)
        for number in absent:
            if number in found:
                self._first[number] = truncated + 1
            else:
                self._first.pop(number, None)
        return bool(found)
