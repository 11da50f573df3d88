"""What a shell completes and help texts list: rooms, types, units, aggregations and nodes, as configured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from iotd.config import Settings


def locations(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return of_settings(ctx, incomplete, lambda settings: settings.locations)


def types(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in (*known_types(ctx), "all") if name.startswith(incomplete)]


def units(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in known_units(ctx) if name.startswith(incomplete)]


def measured_types(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return of_settings(ctx, incomplete, _measured)


def sensors(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The ids of the sensors that were seen, as the state directory has them."""
    from iotd.intake.catalogue import catalogued  # noqa: PLC0415  # brings numpy

    def seen(settings: Settings) -> Iterable[str]:
        return dict.fromkeys(one.sensor_id for one in catalogued(settings.state / "catalogue.sqlite") or ())

    return of_settings(ctx, incomplete, seen)


def known_types(ctx: click.Context) -> list[str]:
    """The sensor types of the table and the configuration; none where the configuration is wrong."""
    return _names(ctx, lambda settings: settings.known_types)


def known_units(ctx: click.Context) -> list[str]:
    """The units of these types, each once."""
    return _names(ctx, lambda settings: dict.fromkeys(row.unit for row in settings.known_types.values()))


def nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from iotd.config.topology import topology  # noqa: PLC0415

    return of_settings(ctx, incomplete, lambda settings: (node.name for node in topology(settings).nodes))


def aggregations(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from iotd.model.aggregate import ASKED  # noqa: PLC0415  # brings numpy

    return [CompletionItem(name) for name in ASKED if name.startswith(incomplete)]


def _measured(settings: Settings) -> list[str]:
    return [name for name, row in settings.known_types.items() if row.kind != "state"]


def of_settings(
    ctx: click.Context, incomplete: str, names: Callable[[Settings], Iterable[str]]
) -> list[CompletionItem]:
    """Names that stand in the settings, as far as they begin with what was typed."""
    return [CompletionItem(name) for name in _names(ctx, names) if name.startswith(incomplete)]


def _names(ctx: click.Context, names: Callable[[Settings], Iterable[str]]) -> list[str]:
    from iotd.config import load  # noqa: PLC0415
    from iotd.model.errors import IotdError  # noqa: PLC0415

    try:
        return list(names(load(ctx.find_root().params.get("config"))))
    except IotdError:
        return []  # what is wrong in the configuration is said when the command is run
