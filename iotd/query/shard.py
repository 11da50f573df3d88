"""One shard as queries read it: from its master, or from a replica while there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from iotd.config.topology import Shard
from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.model.aggregate import Aggregation
from iotd.model.batch import Times, Values
from iotd.model.buckets import Run
from iotd.model.errors import ShardUnavailable
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.shards.probe import probe
from iotd.shards.reader import Held, ShardReader

__all__ = ["Held", "ShardSource"]

Role = Literal["master", "replica"]


class ShardSource:
    """Reads one location's readings; a node that fails is replaced by the one that answers then.

    Attributes:
        node: the name of the node that answers.
        role: ``master`` when the Sentinels say so too, else ``replica``: it stands in for one.
        why: why no node answers; None while one does.
    """

    def __init__(self, shard: Shard, settings: Tree) -> None:
        self.location = shard.location
        self.node: str | None = None
        self.role: Role | None = None
        self.why: str | None = None
        self._shard = shard
        self._settings = settings
        self._address: Address | None = None
        self._reader = ShardReader(shard.location, settings, self._nearest, failed=self._forget)

    async def find(self) -> None:
        """Finds the node to read from: the master, else a replica that answers; one that hangs costs half a second,
        and a shard of which nobody answers ``redis.response_timeout`` more.

        Raises:
            ShardUnavailable: no node answers.
        """
        self._forget()
        await self._nearest()

    async def _nearest(self) -> Address:
        if self._address is not None:
            return self._address
        view = await probe(self._settings, self._shard)
        if all(node.role is None for node in view.nodes):
            # a dead node refuses at once again; one that is only slow, on a busy machine, is not taken for dead
            view = await probe(self._settings, self._shard, self._settings.redis.response_timeout.total_seconds())
        candidates: list[tuple[str, Role]] = [(view.master, "master")] if view.master else []
        # one that was promoted, and is not published yet, says master already: it stands in as a replica does
        standing_in = sorted((node for node in view.nodes if node.role), key=lambda node: node.role != "master")
        candidates += [(node.name, "replica") for node in standing_in if node.name != view.master]
        if candidates:
            (self.node, self.role), self.why = candidates[0], None
            known = next((node for node in self._shard.redis if node.name == self.node), None)
            self._address = known.address if known else Address.parse(candidates[0][0])
            return self._address
        self.node = self.role = None
        said = [f"{node.name}: {node.problem}" for node in view.nodes if node.problem]
        self.why = "; ".join(said) or "its nodes answer, and none of them is master or replica"
        raise ShardUnavailable(f"{self.location}: {self.why}")

    def _forget(self) -> bool:
        self._address = None
        return True

    async def series(self, what: Selection) -> list[Series]:
        """The sensors of the selection that have a series here.

        Raises:
            ShardError: no answer.
        """
        return [series for series in await self._reader.series(what.types) if series in what]

    async def begins(self, sensors: Sequence[Series]) -> dict[Series, int]:
        """See :meth:`ShardReader.begins`."""
        return await self._reader.begins(sensors)

    async def samples(self, wanted: Sequence[tuple[Series, int, int]]) -> list[Held]:
        """See :meth:`ShardReader.samples`."""
        return await self._reader.samples(wanted)

    async def buckets(self, wanted: Sequence[tuple[Series, Aggregation, Run, int, int]]) -> list[tuple[Times, Values]]:
        """The aggregation of each sensor's readings from a first to a last ms of a run, by start of the bucket.

        Raises:
            ShardError: no answer.
        """
        found = await self._reader.buckets(
            [(s, what, run.first % run.width, run.width, first, last) for s, what, run, first, last in wanted]
        )
        # std.p of values all alike: their variance rounds to a little less than nothing (RedisTimeSeries 1.12.2)
        return [
            (times, np.nan_to_num(values, nan=0.0) if what == "std.p" else values)
            for (_, what, *_), (times, values) in zip(wanted, found, strict=True)
        ]

    async def close(self) -> None:
        """Lets go of the connection."""
        await self._reader.close()
