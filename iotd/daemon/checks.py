"""Checks of a shard against the log: is everything that was taken since the beginning of a drill there?"""

from __future__ import annotations

import asyncio

from iotd.daemon.runtime import Runtime
from iotd.log.base import Record
from iotd.log.deletions import without
from iotd.log.positions import Pin
from iotd.model.arrays import columns_of
from iotd.model.batch import Batch
from iotd.model.errors import ShardUnavailable
from iotd.shards.audit import Audit, audit

_LIMIT_S = 30
_AT_ONCE = 4 * 1024 * 1024
"""Bytes of the log read at once."""
_BACK = 1_000
"""Records before the beginning of a check that are checked too, as far as the log still has them."""


class Checks:
    """At most one check per location; while one is under way the log keeps what it is about."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pins: dict[str, Pin] = {}

    def begin(self, name: str) -> None:
        """From now on the log keeps what a check of this location will read.

        Raises:
            UsageError: this daemon does not serve it.
        """
        partition = self._runtime.location(name).partition
        self._release(name)
        self._pins[name] = partition.positions.pin(max(partition.positions.truncated, partition.end - _BACK))

    async def end(self, name: str) -> Audit:
        """Compares the shard with what the log has of this location, since :meth:`begin` if there was one.

        Raises:
            UsageError: this daemon does not serve it.
            ShardError: the shard can't be asked, or does not have all of it yet.
        """
        location = self._runtime.location(name)
        await self._runtime.intake.settled()
        try:
            async with asyncio.timeout(_LIMIT_S):
                await location.acknowledged()
        except TimeoutError:
            raise ShardUnavailable(f"{name}: readings still wait in the log; see `iotd status`") from None
        pin = self._pins.get(name)
        after = pin.sequence if pin else location.partition.begin - 1
        upto = location.partition.positions.acknowledged
        records: list[Record] = []
        begin = after
        while page := await location.partition.read(after, _AT_ONCE):
            records += [record for record in page if record.sequence <= upto]
            after = page[-1].sequence
            if after >= upto:
                break
        reader = location.reader()
        try:
            deletions = [one for one in await location.partition.deletions(begin) if one.sequence <= upto]
            left = columns_of([without(record, deletions) for record in records])
            return await audit(reader, Batch(name, *left), self._runtime.catalogue.series)
        finally:
            await reader.close()
            self._release(name)

    def _release(self, name: str) -> None:
        if (pin := self._pins.pop(name, None)) is not None:
            pin.release()
