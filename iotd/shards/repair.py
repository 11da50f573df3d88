"""Writing again what a node has lost: from the log, and what only the archive still has."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from iotd.config.sections.servers import Redis
from iotd.log.base import Partition
from iotd.log.deletions import standing
from iotd.model.arrays import distinct
from iotd.model.batch import Batch, Numbers, Times, Values
from iotd.model.errors import ShardError, ShardUnavailable, StateError
from iotd.model.series import Series
from iotd.ops.loggers import get_logger
from iotd.shards.catalogue import Catalogue, Refuse
from iotd.shards.connection import Connection, shard_error
from iotd.shards.madd import Commands, Packer
from iotd.shards.replies import Findings, all_good, examine
from iotd.shards.series import make_series

log = get_logger(__name__)

READINGS = 16_384
"""Packed and sent at once: a few milliseconds of work, and 64 commands."""
_PAGE = READINGS * 20
"""Bytes of the log that hold as many."""
_AT_ONCE = 500


class Refusals:
    """Holds what Redis refuses for good."""

    def __init__(self, location: str, refuse: Refuse) -> None:
        self._location = location
        self._refuse = refuse

    async def hold(self, commands: Commands, refused: list[tuple[int, str]]) -> None:
        """Holds readings, named by their places, with the words of Redis; returns when they are on disk.

        Raises:
            ShardUnavailable: they can't be held now (disk full).
        """
        if not refused:
            return
        places = [place for place, _ in refused]
        columns = commands.series[places], commands.times[places], commands.values[places]
        try:
            await self._refuse(Batch(self._location, *columns), [f"refused by Redis: {said}" for _, said in refused])
        except StateError as e:
            raise ShardUnavailable(f"{self._location}: refused readings can't be held ({e}); free some disk") from None
        log.warning("readings_refused", shard=self._location, count=len(refused), said=refused[0][1])


class Repair:
    """Writes over connections that are given, one part after the other, each when the one before is answered."""

    def __init__(self, catalogue: Catalogue, settings: Redis, refusals: Refusals) -> None:
        self._catalogue = catalogue
        self._settings = settings
        self._refusals = refusals
        self._packer = Packer(catalogue.keys)

    async def write(self, connection: Connection, series: Numbers, times: Times, values: Values) -> NDArray[np.bool_]:
        """Writes readings in their order; series that are missing are made.

        Returns:
            which of them the node has taken; the others are older than it keeps, or refused and held.

        Raises:
            ShardError: it does not take them now.
        """
        taken = np.ones(len(times), bool)
        for first in range(0, len(times), READINGS):
            some = slice(first, first + READINGS)
            commands = self._packer.pack(series[some], times[some], values[some])
            findings = await self._exchange(connection, commands)
            if findings.missing:
                numbers = distinct(commands.series[findings.missing]).tolist()
                series_of = map(self._catalogue.series, numbers)
                await make_series(connection, series_of, self._catalogue.labels, self._settings)
                findings = await self._exchange(connection, commands)
            refused = findings.refused + [(place, "the key is not a TSDB key") for place in findings.missing]
            await self._refusals.hold(commands, refused)
            taken[[first + place for place in findings.expired]] = False
            taken[[first + place for place, _ in refused]] = False
        return taken

    async def _exchange(self, connection: Connection, commands: Commands) -> Findings:
        await connection.send([commands.payload])
        replies = []
        for _ in commands.starts:
            try:
                async with asyncio.timeout(self._settings.response_timeout.total_seconds()):
                    replies.append(await connection.receive())
            except TimeoutError:
                raise ShardUnavailable(f"{connection.address}: no answer to a write") from None
        return Findings() if all_good(replies) else examine(commands, replies, connection.address)

    async def from_log(
        self, connection: Connection, partition: Partition, numbers: Collection[int], upto: int
    ) -> dict[int, int]:
        """Writes all that the log still has of some series and that was not deleted, up to a sequence and in order.

        Returns:
            how many readings of each series were found.

        Raises:
            ShardError: the node does not take them now.
        """
        wanted = np.zeros(len(self._catalogue.keys), bool)
        wanted[list(numbers)] = True
        found = np.zeros(len(wanted), np.int64)
        with partition.positions.pin() as pin:
            after = pin.sequence
            deletions = await partition.deletions(after)
            while after < upto and (records := await partition.read(after, _PAGE)):
                for record in records:
                    if record.sequence > upto:
                        break
                    of = wanted[record.series]
                    if (stands := standing(deletions, record.sequence, record.series, record.times)) is not None:
                        of &= stands
                    if of.any():
                        series = record.series[of]
                        await self.write(connection, series, record.times[of], record.values[of])
                        found += np.bincount(series, minlength=len(found))
                after = records[-1].sequence
        return {number: int(found[number]) for number in np.flatnonzero(found).tolist()}

    async def restore(self, connection: Connection, series: Series, times: Times, values: Values) -> int:
        """Writes readings of one series (times rising) where there are none; never over one that is there.

        Returns:
            how many the node has now; the others are older than it keeps.

        Raises:
            ShardError: it does not take them now.
        """
        _, taken = await make_series(connection, [series], self._catalogue.labels, self._settings)
        if taken:
            raise ShardError(f"{connection.address}: {series.key} holds something else; rename or delete that key")
        count = 0
        for first in range(0, len(times), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            pairs = zip(times[some].tolist(), values[some].tolist(), strict=True)
            replies = await connection.call_many(
                [("TS.ADD", series.key, time, repr(value), "ON_DUPLICATE", "FIRST") for time, value in pairs]
            )
            for reply in replies:
                if not isinstance(reply, BaseException):
                    count += 1
                elif "older than retention" not in str(reply):
                    raise shard_error(reply, f"{connection.address}: TS.ADD {series.key}")
        return count
