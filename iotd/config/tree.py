"""The settings tree: every setting with its default, its bounds and what it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator
from pydantic_settings import NoDecode

from iotd.config.places import Known, given
from iotd.config.sections.base import Section
from iotd.config.sections.mqtt import Broker, parse_brokers
from iotd.config.sections.operation import Http, Logging, Shutdown, Startup
from iotd.config.sections.sensors import Location, Sensors, Simulator, TypeRow
from iotd.config.sections.servers import Redis, Sentinel, Stack, Topology
from iotd.config.sections.sources import Ingest, Intake, Silence, Source
from iotd.config.sections.storing import Archive, InfluxDB, Log, Writer
from iotd.config.values import parse_locations, parse_names
from iotd.model.folding import folded
from iotd.model.types import BUILT_IN, SensorType, Types


class Tree(Section):
    """All settings. Each is checked by itself here; what must hold between them is in :mod:`iotd.config.check`."""

    locations: Annotated[dict[str, Location], NoDecode, BeforeValidator(parse_locations)] = {
        name: Location() for name in ("salon", "chambre1", "chambre2", "cuisine", "salle_de_bain")
    }
    """A list of names, or a table each: ``[locations.salon]``."""
    serve: Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(parse_names)] = None
    """The locations that this daemon carries, when several share the work; None: all."""
    types: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], TypeRow] = {}
    """Sensor types beyond the built-in ones."""
    state_dir: Path | None = None
    """None: $STATE_DIRECTORY (systemd), else the user's state folder (XDG)."""
    sensors: Sensors = Sensors()
    simulator: Simulator = Simulator()
    topology: Topology = Topology()
    redis: Redis = Redis()
    sentinel: Sentinel = Sentinel()
    sources: dict[Annotated[str, Field(pattern=r"^[\w-]+$")], Source] = {}
    mqtt: Annotated[dict[Annotated[str, Field(pattern=r"^[\w-]+$")], Broker], BeforeValidator(parse_brokers)] = {}
    """Brokers by name; ``[mqtt]`` with a ``url`` is the only one."""
    ingest: Ingest = Ingest()
    intake: Intake = Intake()
    silence: Silence = Silence()
    log: Log = Log()
    writer: Writer = Writer()
    archive: Archive = Archive()
    influxdb: InfluxDB = InfluxDB()
    stack: Stack = Stack()
    logging: Logging = Logging()
    startup: Startup = Startup()
    http: Http = Http()
    shutdown: Shutdown = Shutdown()
    _known: dict[str, Known] = PrivateAttr(default_factory=dict)

    @field_validator("locations")
    @classmethod
    def _named(cls, locations: dict[str, Location]) -> dict[str, Location]:
        if not locations:
            raise ValueError("name at least one location")
        called: dict[str, str] = {}
        for slug, location in locations.items():
            if not re.fullmatch(r"[\w-]+", slug):
                raise ValueError(f"{slug!r}: use letters, digits, _ and - (it becomes part of Redis keys)")
            for name in {folded(name) for name in (slug, location.name, *location.aliases) if name}:
                if (other := called.setdefault(name, slug)) != slug:
                    raise ValueError(f"{other} and {slug} are both called {name!r}; take it from one of them")
        return locations

    @property
    def known_types(self) -> Types:
        """The built-in sensor types and those of ``[types]``."""
        return BUILT_IN.extended({name: SensorType(name, **row.model_dump()) for name, row in self.types.items()})

    @property
    def simulates(self) -> bool:
        """Whether there are simulated sensors: by default only while no other source is configured."""
        enabled = self.simulator.enabled
        return not (self.sources or self.mqtt or self.ingest.listen) if enabled == "auto" else enabled == "on"

    def called(self, location: str) -> str:
        """What people call a location: its display name, else its own with spaces."""
        its = self.locations.get(location)
        return (its.name if its else "") or location.replace("_", " ")

    @property
    def known(self) -> Mapping[str, Known]:
        """What the state directory remembers of locations, those that are no longer configured among them."""
        return self._known

    @property
    def places(self) -> dict[str, int]:
        """Which of the default ports are each location's, see :mod:`iotd.config.places`."""
        return given(
            tuple(self.locations), {name: known.place for name, known in self._known.items() if known.place is not None}
        )

    @property
    def retired(self) -> tuple[str, ...]:
        """Locations that are remembered, and no longer configured: they can be asked for by name."""
        return tuple(name for name in self._known if name not in self.locations)

    @property
    def served(self) -> tuple[str, ...]:
        """The locations that this daemon carries."""
        return tuple(self.locations) if self.serve is None else self.serve
