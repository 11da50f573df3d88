"""The series of a location on one node: made once, with labels and retention, before their first sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from iotd.config.sections.servers import Redis
from iotd.model.arrays import distinct
from iotd.model.batch import Numbers
from iotd.model.instants import milliseconds
from iotd.model.series import Found, Series
from iotd.ops.loggers import get_logger
from iotd.shards.catalogue import Catalogue
from iotd.shards.connection import Connection, shard_error

log = get_logger(__name__)

_AT_ONCE = 500
"""Commands in one round trip."""
Labels = Callable[[Series], Mapping[str, str]]

_UNLABELLED = re.compile(r"[%(),]")
"""RedisTimeSeries takes no label with a parenthesis or a comma in it."""
_LABELS = 2
"""Which labels series have; another number has all of them given anew, once."""


class Made:
    """Which series of a location the present master has.

    Attributes:
        taken: numbers of series whose key is something else.
    """

    def __init__(self, location: str, catalogue: Catalogue, settings: Redis) -> None:
        self.taken: set[int] = set()
        self._location = location
        self._catalogue = catalogue
        self._settings = settings
        self._made = np.zeros(0, bool)
        self._adjusted = False

    async def look_up(self, connection: Connection) -> None:
        """Asks a node which series it has; one command, however many there are.

        Series that were made with other settings are given today's, the first time.

        Raises:
            ShardError: no answer.
        """
        self.taken.clear()
        keys = set(await connection.call("TS.QUERYINDEX", f"location={self._location}"))
        numbers = self._catalogue.of_location(self._location)
        present = [number for number in numbers if self._catalogue.keys[number] in keys]
        if len(present) < len(keys):
            await recover_series(connection, self._location, self._catalogue)
            numbers = self._catalogue.of_location(self._location)
            present = [number for number in numbers if self._catalogue.keys[number] in keys]
        self._made = np.zeros(self._size(), bool)
        self._made[present] = True
        if not self._adjusted:
            await self._adjust(connection, present)
            self._adjusted = True

    def unsure(self, numbers: Iterable[int]) -> None:
        """The labels of these series have changed: they are given again before their next reading."""
        self._made[[number for number in numbers if number < len(self._made)]] = False

    async def _adjust(self, connection: Connection, present: Sequence[int]) -> None:
        # the settings that series were made with stand beside them, so that a start need not ask or alter each
        key = f"iotd:series:{self._location}"
        now = f"retention={_retention(self._settings)} chunk={self._settings.chunk_bytes} labels={_LABELS}".encode()
        if await connection.call("GET", key) == now:
            return
        for start in range(0, len(present), _AT_ONCE):
            some = [self._catalogue.series(number) for number in present[start : start + _AT_ONCE]]
            await _alter(connection, some, self._catalogue.labels, self._settings)
        await connection.call("SET", key, now)

    def lacking(self, series: Numbers) -> NDArray[np.int32]:
        """Of the series of some readings: those that must be made first."""
        if len(self._made) < self._size():
            self._made = np.append(self._made, np.zeros(self._size() - len(self._made), bool))
        made = self._made[series]
        return np.zeros(0, np.int32) if made.all() else distinct(series[~made])

    async def make(self, connection: Connection, numbers: Sequence[int]) -> int:
        """Makes these series; returns how many were not there.

        Raises:
            ShardError: the node refuses.
        """
        made, taken = await make_series(
            connection, map(self._catalogue.series, numbers), self._catalogue.labels, self._settings
        )
        self._made[list(numbers)] = True
        names = {s.key for s in taken}
        self.taken.difference_update(numbers)
        self.taken.update(n for n in numbers if self._catalogue.series(n).key in names)
        return made

    def _size(self) -> int:
        return len(self._catalogue.keys)


async def recover_series(connection: Connection, location: str, catalogue: Catalogue) -> None:
    """Gives a catalogue the series that a node has of a location and that it does not know, as their labels say.

    Raises:
        ShardError: no answer.
        StateError: the catalogue can't be written.
    """
    found = []
    for key, labels, sample in await connection.call("TS.MGET", "WITHLABELS", "FILTER", f"location={location}"):
        try:
            series = Series.from_key(key.decode())
        except ValueError:  # UnicodeDecodeError too: a key that is not ours
            continue
        said = {name.decode(errors="replace"): unquote(text.decode(errors="replace")) for name, text in labels}
        series = replace(series, unit=said.get("unit", series.unit))
        if catalogue.number_of(series) is None:
            found.append(Found(series, said, (int(sample[0]), float(sample[1])) if sample else None))
    if found:
        await catalogue.recover(found)
        log.warning("series_recovered", shard=location, count=len(found), node=str(connection.address))


async def make_series(
    connection: Connection, series: Iterable[Series], labels: Labels, settings: Redis
) -> tuple[int, list[Series]]:
    """Makes the series that are missing, and gives those that exist today's retention, policy and labels.

    TS.CREATE comes before any sample, because labels and retention given in TS.ADD were not replicated
    (RedisTimeSeries #1455), and LAST, because the default policy BLOCK fails on a replay.

    Args:
        labels: what each is given.

    Returns:
        how many were made, and those whose key is taken by something else: that stays as it is.

    Raises:
        ShardError: the node refuses for another reason than that the series exists.
    """
    made, taken = 0, []
    series = list(series)
    for start in range(0, len(series), _AT_ONCE):
        some = series[start : start + _AT_ONCE]
        replies = await connection.call_many([("TS.CREATE", s.key, *options(labels(s), settings)) for s in some])
        existing = []
        for one, reply in zip(some, replies, strict=True):
            if not isinstance(reply, BaseException):
                made += 1
            elif "already exists" in str(reply):
                existing.append(one)
            else:
                raise shard_error(reply, f"{connection.address}: TS.CREATE {one.key}")
        taken += await _alter(connection, existing, labels, settings)
    return made, taken


async def _alter(connection: Connection, series: Sequence[Series], labels: Labels, settings: Redis) -> list[Series]:
    taken = []
    replies = await connection.call_many([("TS.ALTER", s.key, *options(labels(s), settings)) for s in series])
    for one, reply in zip(series, replies, strict=True):
        if not isinstance(reply, BaseException):
            continue
        if not any(mark in str(reply) for mark in ("WRONGTYPE", "not a TSDB key")):
            raise shard_error(reply, f"{connection.address}: TS.ALTER {one.key}")
        log.error("key_taken", key=one.key, node=str(connection.address), hint="rename or delete that key")
        taken.append(one)
    return taken


def _label(text: str) -> str:
    return _UNLABELLED.sub(lambda found: f"%{ord(found[0]):02X}", text)


def _retention(settings: Redis) -> int:
    return milliseconds(settings.retention)


def options(labels: Mapping[str, str], settings: Redis) -> list[str | int]:
    """What TS.CREATE and TS.ALTER are told of a series with these labels."""
    return [
        *("RETENTION", _retention(settings), "CHUNK_SIZE", settings.chunk_bytes, "DUPLICATE_POLICY", "LAST"),
        *("LABELS", *(text for name, said in labels.items() for text in (name, _label(said)))),
    ]
