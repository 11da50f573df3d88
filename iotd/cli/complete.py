"""What a shell completes: rooms, types, units, aggregations and nodes, as the configuration has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from iotd.config import Settings


def locations(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _of_settings(ctx, incomplete, lambda settings: settings.locations)


def types(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _of_settings(ctx, incomplete, lambda settings: (*settings.sensors.types, "all"))


def units(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _of_settings(ctx, incomplete, lambda s: (s.known_types.unit(t) for t in s.sensors.types))


def nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from iotd.config.topology import topology  # noqa: PLC0415

    return _of_settings(ctx, incomplete, lambda settings: (node.name for node in topology(settings).nodes))


def aggregations(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from iotd.query.aggregate import AGGREGATIONS  # noqa: PLC0415  # brings numpy

    return [CompletionItem(name) for name in AGGREGATIONS if name.startswith(incomplete)]


def _of_settings(
    ctx: click.Context, incomplete: str, names: Callable[[Settings], Iterable[str]]
) -> list[CompletionItem]:
    from iotd.config import load  # noqa: PLC0415
    from iotd.model.errors import IotdError  # noqa: PLC0415

    try:
        known = names(load(ctx.find_root().params.get("config")))
    except IotdError:
        return []  # what is wrong in the configuration is said when the command is run
    return [CompletionItem(name) for name in known if name.startswith(incomplete)]
