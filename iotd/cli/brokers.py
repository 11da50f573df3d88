"""Which broker a command is about: one that is configured, or one that is named by its URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from iotd.model.errors import UsageError

if TYPE_CHECKING:
    from iotd.config import Settings
    from iotd.config.sections.mqtt import Broker


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from iotd.cli.complete import of_settings  # noqa: PLC0415

    return of_settings(ctx, incomplete, lambda settings: settings.mqtt)


broker_option = click.option(
    "--broker", shell_complete=_names, help="The one of [mqtt.BROKER]; default: all there are."
)


def url_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options for a broker that is not configured."""
    for option in (
        click.option("--tls-ca-file", type=click.Path(path_type=Path), help="Trusted for mqtts and wss."),
        click.option("--password-file", type=click.Path(path_type=Path), help="With the password of --username."),
        click.option("--username", help="Who we are at --url."),
        click.option("--url", help="A broker that is not configured: mqtt://host:1883, mqtts, ws, wss."),
    ):
        command = option(command)
    return command


def brokers_of(
    settings: Settings,
    broker: str | None,
    *,
    url: str | None = None,
    username: str | None = None,
    password_file: Path | None = None,
    tls_ca_file: Path | None = None,
) -> Mapping[str, Broker]:
    """The brokers that are meant, by name.

    Raises:
        UsageError: there is none, or not the one that was named; or its URL is none.
    """
    from pydantic import ValidationError  # noqa: PLC0415  # not for --help

    from iotd.config.sections.mqtt import ALONE, Broker  # noqa: PLC0415

    given = {"username": username, "password_file": password_file, "tls_ca_file": tls_ca_file}
    if url is not None:
        if broker is not None:
            raise UsageError("give --broker or --url, not both")
        try:
            return {ALONE: Broker(url=url, **given)}  # type: ignore[arg-type]
        except ValidationError as e:
            raise UsageError("; ".join(_said(one) for one in e.errors())) from None
    if any(value is not None for value in given.values()):
        raise UsageError("--username, --password-file and --tls-ca-file belong to --url")
    if not settings.mqtt:
        raise UsageError("no broker is configured: name one with --url mqtt://host:1883, or write [mqtt] with a url")
    if broker is None:
        return settings.mqtt
    if broker not in settings.mqtt:
        raise UsageError(f"no broker is called {broker!r}; there are {', '.join(settings.mqtt)}")
    return {broker: settings.mqtt[broker]}


def _said(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
