"""Which system this is: what the log knows of it, or where the log was lost, what is remembered beside it."""

from __future__ import annotations

from collections.abc import Mapping

from iotd.config.places import Known
from iotd.log.base import SYSTEM, Append, Damage, Log


def system_of(durable: Log) -> str:
    """The id that all shards of this system carry: of the log that it began with, or of the system it adopted."""
    noted = durable.source_position(SYSTEM)
    return noted.decode() if noted else durable.id


async def note_system(durable: Log, system: str) -> None:
    """This system has that id from now on; durable on return.

    Raises:
        StateError: the log can't be written.
    """
    nowhere: list[Append] = []
    await durable.append_many(nowhere, [(SYSTEM, system.encode())])


def remembered_system(known: Mapping[str, Known]) -> dict[str, bytes]:
    """What a new log begins with where the old one was lost, and not what is remembered of the locations: the system
    stays the same. Empty where nothing is remembered, or several systems are."""
    systems = {location.system for location in known.values() if location.system is not None}
    return {SYSTEM: systems.pop().encode()} if len(systems) == 1 else {}


def name_lost_log(durable: Log, known: Mapping[str, Known]) -> None:
    """Names the loss of a log that was gone at the start."""
    if durable.fresh and any(location.system is not None for location in known.values()):
        durable.note(
            Damage(None, 0, 0, None, "the log was gone when the daemon started, with all that shards or archive lacked")
        )
