"""An audit of a shard: are the readings that must be there in it, each once and with its value?"""

from __future__ import annotations

from dataclasses import dataclass

from iotd.model.batch import Times, Values
from iotd.model.roster import Roster
from iotd.shards.reader import ShardReader

_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Attributes:
        due: readings that must be there.
        missing: of these, how many are not, or have another value.
        strange: readings that are there and must not be.
        first: the first one missing, ``key at ms``.
        seconds: from the first time that was looked at to the last.
    """

    due: int
    missing: int
    strange: int
    first: str | None
    seconds: float


async def audit(reader: ShardReader, roster: Roster, times: Times, values: Values) -> Audit:
    """Compares a shard with what must be in it.

    Args:
        times: int64 ms, rising, shape (T,); the range from the first to the last is looked at.
        values: float64, shape (T, sensors).

    Raises:
        ShardError: the shard can't be asked.
    """
    if not len(times):
        return Audit(0, 0, 0, None, 0.0)
    missing = strange = 0
    earliest: tuple[int, str] | None = None
    for column, sensor in enumerate(roster):
        wanted = dict(zip(times.tolist(), values[:, column].tolist(), strict=True))
        after = int(times[0]) - 1
        while page := await reader.page(sensor, after, int(times[-1]), _PAGE):
            for time, value in page:
                if wanted.get(time) == float(value):
                    del wanted[time]
                elif time not in wanted:
                    strange += 1
            after = page[-1][0]
        missing += len(wanted)
        if wanted:
            earliest = min(filter(None, (earliest, (min(wanted), sensor.key))))
    first = f"{earliest[1]} at {earliest[0]}" if earliest else None
    return Audit(values.size, missing, strange, first, (int(times[-1]) - int(times[0])) / 1000)
