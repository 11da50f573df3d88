"""Series of a location that was renamed get its new name: their keys and their labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from iotd.config.sections.servers import Redis
from iotd.model.series import Series
from iotd.ops.loggers import get_logger
from iotd.shards.catalogue import Catalogue
from iotd.shards.connection import Connection, shard_error
from iotd.shards.series import options

log = get_logger(__name__)

_AT_ONCE = 500


async def rename_series(
    connection: Connection, formers: Iterable[str], location: str, catalogue: Catalogue, settings: Redis
) -> None:
    """Renames what a master still holds under earlier names of a location; does nothing when it holds nothing.

    Called whenever a master is taken up: one that was a replica may have missed the end of it.

    Raises:
        ShardError: no answer, or it refuses; asking again goes on.
    """
    for former in formers:
        keys = await connection.call("TS.QUERYINDEX", f"location={former}")
        for start in range(0, len(keys), _AT_ONCE):
            await _rename(connection, keys[start : start + _AT_ONCE], location, catalogue, settings)
        if keys:
            log.info("series_renamed", shard=location, former=former, count=len(keys), node=str(connection.address))


async def _rename(
    connection: Connection, keys: Sequence[bytes], location: str, catalogue: Catalogue, settings: Redis
) -> None:
    places = {Series.from_key(key.decode()).location for key in keys}
    known = {catalogue.keys[n]: catalogue.series(n) for place in places for n in catalogue.of_location(place)}
    commands: list[tuple[str | int, ...]] = [("MULTI",)]
    for key in keys:
        # one that has its new key already, and its old labels, stays where it is
        before = known.get(key) or Series.from_key(key.decode())
        after = replace(before, location=location)
        if after.key != before.key:
            commands.append(("RENAMENX", before.key, after.key))
        commands.append(("TS.ALTER", after.key, *options(catalogue.labels(after), settings)))
    *_, done = await connection.call_many([*commands, ("EXEC",)])
    if isinstance(done, BaseException):
        raise shard_error(done, f"{connection.address}: EXEC")
    for command, reply in zip(commands[1:], done, strict=True):
        if isinstance(reply, BaseException):
            raise shard_error(reply, f"{connection.address}: {command[0]} {command[1]}")
        if command[0] == "RENAMENX" and not reply:
            log.error(
                "series_not_renamed",
                shard=location,
                key=str(command[1]),
                reason=f"{command[2]} is there already",
                effect="what it holds is not found by the new name",
            )
