"""Which store the settings ask for: ``archive.store`` is a URL, whose scheme names the back end.

A back end is a package with an :data:`Open`. Those of iotd stand in a table here; any other is found by the entry
point of the group ``iotd.stores`` that has the name of its scheme.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Protocol

from iotd.config import Settings
from iotd.model.errors import ConfigError
from iotd.stores.base import Store
from iotd.stores.renamed import Former, RenamedStore

GROUP = "iotd.stores"
"""The group of entry points."""

_OURS = {"embedded": "iotd.stores.embedded.store:open_embedded", "influxdb": "iotd.stores.influxdb.store:open_influxdb"}


class Open(Protocol):
    """Makes a store; connects to nothing and opens no file yet, so that it can't fail for want of a server."""

    def __call__(self, settings: Settings, url: str, *, read_only: bool) -> Store:
        """
        Args:
            url: as in ``archive.store``, with its scheme.
            read_only: it is not the daemon's: nothing may be made, migrated or written.

        Raises:
            ConfigError: the URL or the settings are of no use; the message names the setting.
        """


def open_store(settings: Settings, *, read_only: bool = False) -> Store | None:
    """The store that ``archive.store`` names; None when nothing is to be archived.

    Raises:
        ConfigError: there is no such back end, or its URL is wrong.
    """
    url = store_url(settings)
    if url is None:
        return None
    store = _opener(url)(settings, url, read_only=read_only)
    formers = {
        location: [Former(*former) for former in known.formers]
        for location, known in settings.known.items()
        if known.formers
    }
    return RenamedStore(store, formers) if formers else store


def store_url(settings: Settings) -> str | None:
    """The URL of the store; None when nothing is to be archived.

    ``auto`` is InfluxDB where a URL is configured or the stack has set one up, else the embedded archive.
    """
    store = settings.archive.store
    if store == "auto":
        return "influxdb:" if settings.influxdb.url is not None or settings.stack_token.exists() else "embedded:"
    return None if store == "none" else store


def known_schemes() -> list[str]:
    """The schemes that :func:`open_store` opens, ours first."""
    return [*_OURS, *sorted(entry_points(group=GROUP).names - _OURS.keys())]


def _opener(url: str) -> Open:
    scheme = url.partition(":")[0]
    try:
        if scheme in _OURS:
            module, _, name = _OURS[scheme].partition(":")
            ours: Open = getattr(import_module(module), name)  # only now: a client may take a while to import
            return ours
        for found in entry_points(group=GROUP, name=scheme):
            its: Open = found.load()
            return its
    except (ImportError, AttributeError) as e:
        raise ConfigError(f"archive.store: {scheme!r} can't be loaded ({e}): install what it needs") from None
    raise ConfigError(f"archive.store: there is no store {scheme!r}; known are {', '.join(known_schemes())}")
