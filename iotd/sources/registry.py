"""The sources that the configuration asks for, by their kind."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, cast

from iotd.model.errors import ConfigError
from iotd.sources.base import Context, Factory, Source

GROUP = "iotd.sources"


def make_source(name: str, kind: str, options: Mapping[str, Any], context: Context) -> Source:
    """The source of the table ``[sources.NAME]``.

    A kind is the name of an entry point ``iotd.sources`` of any installed package, else a module with a function
    ``source``: one in this folder, or with dots in its name anyone's (``mylab.modbus``).

    Raises:
        ConfigError: there is no such kind, or its options are wrong.
    """
    return _factory(name, kind)(name, options, context)


def _factory(name: str, kind: str) -> Factory:
    for entry in entry_points(group=GROUP, name=kind):
        try:
            return cast(Factory, entry.load())
        except Exception as e:
            raise ConfigError(f"sources.{name}.kind: the plugin {entry.value} of {kind!r} can't be loaded: {e}") from e
    try:
        return cast(Factory, importlib.import_module(kind if "." in kind else f"iotd.sources.{kind}").source)
    except (ImportError, AttributeError, ValueError):
        there = sorted({entry.name for entry in entry_points(group=GROUP)} | {"csv_tail"})
        raise ConfigError(f"sources.{name}.kind: there is no kind {kind!r}; there are {', '.join(there)}") from None
