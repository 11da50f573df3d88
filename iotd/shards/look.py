"""What the page asks of a shard: the newest of all sensors, how often they speak, and the points of its charts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from iotd.model.batch import Times, Values
from iotd.model.series import Series
from iotd.shards.reader import ShardReader


class ShardLook(ShardReader):
    """A reader that asks many series at once, for little of each."""

    async def recent(self, series: Sequence[Series], count: int) -> list[Times]:
        """The newest times (ms, rising) of each series, so many at most; none of one that is not here.

        Raises:
            ShardError: no node, or no answer.
        """
        found = await self._link.arrays([("TS.REVRANGE", one.key, "-", "+", "COUNT", count) for one in series])
        return [np.sort(times) for times, _ in found]

    async def by_type(self, types: Sequence[str], first: int, bucket: int) -> dict[str, tuple[Times, Values]]:
        """Mean, smallest and largest of all sensors of each of these types, per bucket (ms) from ``first`` (ms) on.

        Returns:
            by type: starts of the buckets (ms), and a row for each with mean, smallest and largest. The server
            computes them.

        Raises:
            ShardError: no node, or no answer.
        """
        replies = await self._link.ask(
            *(
                (
                    *("TS.MRANGE", first, "+", "ALIGN", 0, "AGGREGATION", how, bucket),
                    *("FILTER", f"location={self.location}", _of(types), "GROUPBY", "type", "REDUCE", how),
                )
                for how in ("avg", "min", "max")
            )
        )
        mean, low, high = ({group.decode().removeprefix("type="): points for group, _, points in r} for r in replies)
        return {
            kind: (
                np.array([int(time) for time, _ in points], np.int64),
                np.array(
                    [
                        (float(value), float(least), float(most))
                        for (_, value), (_, least), (_, most) in zip(points, low[kind], high[kind], strict=False)
                    ]
                ),
            )
            for kind, points in mean.items()
            if points and len(points) == len(low.get(kind, ())) == len(high.get(kind, ()))
        }

    async def lasts(self, kind: str, first: int, bucket: int) -> dict[Series, tuple[Times, Values]]:
        """The last value of each series of a type, per bucket (ms) from ``first`` (ms) on, by start of the bucket.

        Raises:
            ShardError: no node, or no answer.
        """
        command = ("TS.MRANGE", first, "+", "ALIGN", 0, "AGGREGATION", "last", bucket)
        (reply,) = await self._link.ask((*command, "FILTER", f"location={self.location}", _of([kind])))
        found = {}
        for key, _, points in reply:
            with suppress(ValueError):  # a key that is no sensor's
                found[Series.from_key(key.decode(), self._settings.known_types)] = (
                    np.array([int(time) for time, _ in points], np.int64),
                    np.array([float(value) for _, value in points], np.float64),
                )
        return found

    async def before(self, series: Sequence[Series], upto: int) -> list[tuple[int, float] | None]:
        """The newest sample of each series that is not later than ``upto`` (ms): time (ms) and value.

        Raises:
            ShardError: no node, or no answer.
        """
        found = await self._link.arrays([("TS.REVRANGE", one.key, "-", upto, "COUNT", 1) for one in series])
        return [(int(times[0]), float(values[0])) if len(times) else None for times, values in found]


def _of(types: Sequence[str]) -> str:
    return f"type={types[0]}" if len(types) == 1 else f"type=({','.join(types)})"
