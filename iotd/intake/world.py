"""What readings are held against under some settings: names, types, bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from iotd.config import Tree
from iotd.intake.guards import Limits
from iotd.intake.resolve import Assignment, Resolver
from iotd.intake.targets import Targets
from iotd.intake.translate import Bounds
from iotd.model.instants import milliseconds
from iotd.model.types import Types


@dataclass(frozen=True, slots=True)
class World:
    """Made anew when the configuration or an assignment changes.

    Attributes:
        limits: of every reading.
        bounds: of the times that devices give, while they speak live.
        series_limit: how many series one source may make.
        targets: what is known by them of those who speak.
    """

    resolver: Resolver
    types: Types
    limits: Limits
    bounds: Bounds
    series_limit: int
    targets: Targets = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", Targets(self.resolver, self.types))


def world_of(settings: Tree, assignments: Mapping[str, Assignment]) -> World:
    """What the settings describe.

    Args:
        assignments: what people said of sensors, by their ids.

    Raises:
        UsageError: times without a zone are this machine's, and that can't be told.
    """
    intake = settings.intake
    limits = limits_of(settings)
    names = {
        name: (location.name, *location.aliases)
        for name, location in settings.locations.items()
        if name in settings.served
    }
    default = None if intake.unknown_location == "hold" else intake.unknown_location
    types = settings.known_types
    return World(
        resolver=Resolver(types, names, assignments, default, intake.ignore),
        types=types,
        limits=limits,
        bounds=Bounds(limits.future, milliseconds(intake.past), intake.zone),
        series_limit=intake.series_limit,
    )


def limits_of(settings: Tree) -> Limits:
    """The limits that the settings describe.

    Without an archive, what is older than the shards keep can go nowhere, so it is held.
    """
    retention = milliseconds(settings.redis.retention)
    return Limits(
        future=milliseconds(settings.intake.future),
        past=retention if settings.archive.store == "none" else None,
    )
