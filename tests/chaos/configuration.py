"""The daemon's configuration file, as a person changes it while the daemon runs, and what a reload says to that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from pathlib import Path
from time import monotonic
from typing import Any

from iotd.config import Settings
from iotd.model.errors import ConfigError, IotdError
from iotd.ops.control import NoDaemon, request
from tests.chaos.mqtt.topics import alias
from tests.servers.system import make_settings

_RELOAD_S = 90
"""A room that is taken out is drained first, within `shutdown.drain`."""

WITNESS = {
    "kind": "tests.servers.witness",
    "sensors": 5,
    "every_ms": 50,
    "late": 0.05,
    "early": 0.002,  # by more than `intake.future`
    "old": 0.002,
}
"""Options of the source that can't be asked again."""

BEHAVIOUR: Mapping[str, Any] = {
    "simulator": {"enabled": "on", "seed": 1},
    "intake": {"future": "1m"},
    "log": {"limit": "256MiB", "segment": "1MiB"},
    "archive": {"interval": "10s", "store": "influxdb:"},
    "shutdown": {"drain": "60s"},  # the count follows the last pass
    "logging": {"level": "info", "format": "json"},
}
"""Tables of the configuration that are the same in each run."""

Change = Callable[[dict[str, Any]], None]
"""Alters the tables of the configuration in place, ``locations`` among them."""


class Configuration:
    """Writes the file; changes lie over one another, so that two faults may change it at the same time.

    Attributes:
        settings: of the file as it was at first, with all that tests need to know.
        locations: those that the daemon was last known to serve.
        ever: all that it was asked to serve, at any time.
        uncertain: whether nobody knows what the daemon goes by.
        good: whether a daemon can be started with the file as it is.
        bad_at: when the file was last one that no daemon can be started with (monotonic).
    """

    def __init__(self, folder: Path, port: int, locations: Sequence[str], tables: Mapping[str, Any]) -> None:
        """
        Args:
            folder: for the file; not on the daemon's disk, which may take no writes.
            port: the first of the default ones.
        """
        self._folder = folder
        self._port = port
        self._base: dict[str, Any] = {"locations": list(locations), **tables}
        self._changes: list[Change] = []
        self._turn = asyncio.Lock()
        self.locations = tuple(locations)
        self.ever = set(locations)
        self.uncertain = False
        self.good = True
        self.bad_at = float("-inf")
        settings = self._write()
        assert settings is not None
        self.settings = settings

    @property
    def path(self) -> Path:
        """The file."""
        return self._folder / "iotd.toml"

    @asynccontextmanager
    async def changed(self, change: Change) -> AsyncIterator[str | None]:
        """The file is another one meanwhile, and the daemon is asked to take it over; why it refused, if it did."""
        self._changes.append(change)
        try:
            yield await self.apply()
        finally:
            self._changes.remove(change)
            await self.apply()

    async def keep(self, change: Change) -> None:
        """The file is another one from now on."""
        self._changes.append(change)
        await self.apply()

    async def apply(self) -> str | None:
        """Writes the file, and has the daemon take it over; why it refused.

        A daemon that does not run takes it when it starts.
        """
        async with self._turn:
            self._write()
            self.uncertain = True
            try:
                async with asyncio.timeout(_RELOAD_S):
                    await request(self.settings.state, "POST", "/reload")
            except (NoDaemon, TimeoutError):
                return None
            except IotdError as e:
                self.uncertain = False
                return str(e)
            self._takes()
            return None

    async def known(self) -> None:
        """Has it applied once more, where nobody knows what the daemon goes by."""
        if self.uncertain:
            with suppress(IotdError):
                await self.apply()

    def started(self) -> None:
        """The daemon was started: it goes by the file, or by nothing."""
        self._write()
        self._takes()

    def _takes(self) -> None:
        self.locations = self._named
        self.uncertain = False

    def _write(self) -> Settings | None:
        tables = deepcopy(self._base)
        for change in self._changes:
            change(tables)
        locations = self._named = tuple(tables.pop("locations"))
        try:
            named = {name: {"aliases": [alias(name)]} for name in locations}
            settings = make_settings(self._folder, self._port, named, **tables)
        except ConfigError:
            self.good, self.bad_at = False, monotonic()
            return None
        self.good = True
        self.ever.update(locations)
        return settings
