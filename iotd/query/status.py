"""How the shards are: asked of all of them at once, within half a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

from iotd.config.topology import Shard, Topology
from iotd.config.tree import Tree
from iotd.config.values import Address
from iotd.model.errors import IotdError
from iotd.query.rows import as_html, as_text, frame
from iotd.shards.connection import Connection
from iotd.shards.probe import NodeView, ShardView, probe

if TYPE_CHECKING:
    import pandas

LIMIT_S = 0.5
"""In which everything is asked; what does not answer in time counts as not answering."""

_MARGIN_S = 0.05
_RATE_MS, _SLOW_RATE_MS = 10_000, 600_000
_RATED = 3
"""Readings in the shorter time that make a rate of it; a sensor with fewer is counted over the longer one."""
_SETTLED_MS = 2_000
"""How old a reading is when it has surely arrived: the rate is that of the seconds before."""

State = Literal["ok", "degraded", "failing over", "dead"]


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One shard.

    Attributes:
        state: ``degraded``: a node or Sentinel is missing; ``failing over``: nodes answer, none accepts writes;
            ``dead``: no node answers.
        master: name of the node that accepts writes, None while there is none.
        nodes: each node's own word: role, replication lag in bytes, memory, what is wrong with it.
        sentinels: by name, whether it answers.
        read_from: name of the node that the figures below are from, None when they can't be had.
        memory: bytes used by that node.
        series: how many it holds.
        samples: readings it holds.
        writes_per_second: readings a second, over ten seconds; of sensors that speak seldom, over ten minutes.
    """

    location: str
    state: State
    master: str | None
    nodes: tuple[NodeView, ...]
    sentinels: dict[str, bool]
    read_from: str | None
    memory: int | None
    series: int | None
    samples: int | None
    writes_per_second: float | None

    @property
    def lag(self) -> int | None:
        """Bytes of the replication stream by which the replica furthest behind is behind; None without a replica."""
        lags = [node.lag for node in self.nodes if node.name != self.master and node.lag is not None]
        return max(lags, default=None)


@dataclass(frozen=True, eq=False, repr=False)
class ShardsStatus(Sequence[ShardStatus]):
    """All shards, in the order of the settings.

    Attributes:
        took: how long the asking took, seconds.
    """

    shards: tuple[ShardStatus, ...]
    took: float

    def __len__(self) -> int:
        return len(self.shards)

    @overload
    def __getitem__(self, index: int) -> ShardStatus: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ShardStatus]: ...
    def __getitem__(self, index: int | slice) -> ShardStatus | Sequence[ShardStatus]:
        return self.shards[index]

    def __iter__(self) -> Iterator[ShardStatus]:
        return iter(self.shards)

    def shard(self, location: str) -> ShardStatus:
        """The shard of a location.

        Raises:
            KeyError: there is none.
        """
        for one in self.shards:
            if one.location == location:
                return one
        raise KeyError(location)

    @property
    def healthy(self) -> bool:
        """Whether every shard is ``ok``."""
        return all(one.state == "ok" for one in self.shards)

    def rows(self) -> list[dict[str, object]]:
        """A row for each shard, of plain values."""
        return [
            {
                "location": one.location,
                "state": one.state,
                "master": one.master,
                "lag_bytes": one.lag,
                "sentinels": sum(one.sentinels.values()),
                "memory_bytes": one.memory,
                "series": one.series,
                "samples": one.samples,
                "writes_per_second": one.writes_per_second,
            }
            for one in self.shards
        ]

    def to_pandas(self) -> pandas.DataFrame:
        """A DataFrame with a row for each shard.

        Raises:
            UsageError: pandas is not installed.
        """
        return frame(self.rows())

    def __repr__(self) -> str:
        return as_text(self.rows())

    def _repr_html_(self) -> str:
        return as_html(self.rows())


async def shards_status(settings: Tree, topology: Topology) -> ShardsStatus:
    """Asks all nodes and Sentinels of all shards at once; returns within :data:`LIMIT_S`, whatever is dead."""
    began = time.monotonic()
    shards = await asyncio.gather(*(_one(settings, shard, began) for shard in topology.shards))
    return ShardsStatus(tuple(shards), time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class _Figures:
    memory: int
    series: int
    samples: int
    writes_per_second: float


async def _one(settings: Tree, shard: Shard, began: float) -> ShardStatus:
    view: ShardView | None = None
    node: NodeView | None = None
    figures: _Figures | None = None
    try:
        async with asyncio.timeout(began + LIMIT_S - _MARGIN_S - time.monotonic()):
            view = await probe(settings, shard)
            node = _readable(view)
            if node is not None:
                figures = await _figures(settings, shard.location, node)
    except (TimeoutError, IotdError):
        pass  # what was found out until then stands, the rest is None
    return ShardStatus(
        location=shard.location,
        state=_state(view),
        master=view.master if view else None,
        nodes=tuple(view.nodes) if view else (),
        sentinels=view.sentinels if view else {sentinel.name: False for sentinel in shard.sentinels},
        read_from=node.name if node and figures else None,
        memory=figures.memory if figures else None,
        series=figures.series if figures else None,
        samples=figures.samples if figures else None,
        writes_per_second=figures.writes_per_second if figures else None,
    )


def _readable(view: ShardView) -> NodeView | None:
    answering = [node for node in view.nodes if node.role is not None]
    return next((node for node in answering if node.name == view.master), answering[0] if answering else None)


def _state(view: ShardView | None) -> State:
    if view is None or all(node.role is None for node in view.nodes):
        return "dead"
    if view.master is None:
        return "failing over"
    replicas = [node for node in view.nodes if node.name != view.master]
    well = all(view.sentinels.values()) and all(replica.follows for replica in replicas)
    return "ok" if well else "degraded"


async def _figures(settings: Tree, location: str, node: NodeView) -> _Figures:
    redis = settings.redis
    async with await Connection.open(
        Address.parse(node.address), redis, connect_timeout=LIMIT_S, response_timeout=LIMIT_S
    ) as connection:
        keys = await connection.call("TS.QUERYINDEX", f"location={location}")
        upto = time.time_ns() // 1_000_000 - _SETTLED_MS
        counts = [_counts(location, upto - window + 1, upto) for window in (_RATE_MS, _SLOW_RATE_MS)]
        replies = await connection.call_many([*counts, *(("TS.INFO", key) for key in keys)])
    lately, longer, *infos = (reply for reply in replies if not isinstance(reply, BaseException))
    samples = sum(int(dict(zip(info[::2], info[1::2], strict=True))[b"totalSamples"]) for info in infos)
    return _Figures(node.memory or 0, len(infos), samples, _rate(_counted(lately), _counted(longer)))


def _counts(location: str, first: int, last: int) -> tuple[str | int, ...]:
    counted = ("ALIGN", "-", "AGGREGATION", "count", last - first + 1)
    return ("TS.MRANGE", first, last, *counted, "FILTER", f"location={location}")


def _counted(reply: Any) -> dict[bytes, float]:
    return {key: sum(float(count) for _, count in buckets) for key, _, buckets in reply}


def _rate(lately: Mapping[bytes, float], longer: Mapping[bytes, float]) -> float:
    """Readings a second of all series together."""
    often = {key: count * 1000 / _RATE_MS for key, count in lately.items() if count >= _RATED}
    return sum(often.values()) + sum(n * 1000 / _SLOW_RATE_MS for key, n in longer.items() if key not in often)
