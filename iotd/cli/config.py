"""`iotd config`: check and show the configuration, and how it differs from what the daemon goes by."""

from __future__ import annotations

import json
from pathlib import Path

import click

from iotd.cli.output import output_option, print_json
from iotd.cli.reload import diff
from iotd.config import Tree, find_config, load
from iotd.config.sections.mqtt import setting_name


@click.group()
def config() -> None:
    """Check and show the configuration.

    A setting comes from the file (--config, $IOTD_CONFIG, config/iotd.toml, the user's, /etc/iotd/iotd.toml), or from
    an environment variable that wins over it: IOTD_TOPOLOGY__PORT_OFFSET=1000 is topology.port_offset.
    """


@config.command()
@output_option
@click.pass_obj
def check(path: Path | None, output: str) -> None:
    """Say whether the configuration can be used; every mistake is one line, and the exit code is 78 then."""
    from iotd.stores.registry import open_store  # noqa: PLC0415  # brings numpy: not for --help

    settings = load(path)
    open_store(settings, read_only=True)  # opens nothing, and refuses what names no store
    used = find_config(path)
    if output == "json":
        print_json({"file": used, "state": settings.state})
        return
    where = str(used) if used else "no file, only defaults and environment"
    click.echo(f"the configuration is good: {where}; {len(settings.locations)} locations, state in {settings.state}")


@config.command()
@output_option
@click.pass_obj
def show(path: Path | None, output: str) -> None:
    """Show every setting as it is in effect; secrets stay hidden."""
    settings = load(path)
    tree = settings.model_dump(mode="json")
    tree["state_dir"] = str(settings.state)
    if output == "json":
        click.echo(json.dumps(tree, ensure_ascii=False))
        return
    for name, value in _flat(tree):
        click.echo(f"{name} = {json.dumps(value, ensure_ascii=False)}")


@config.command()
def schema() -> None:
    """Print the JSON schema of the configuration, for an editor or another program."""
    click.echo(json.dumps(Tree.model_json_schema(mode="serialization"), indent=2, ensure_ascii=False))


config.add_command(diff)


def _flat(tree: object, prefix: str = "") -> list[tuple[str, object]]:
    if not isinstance(tree, dict):
        return [(prefix, tree)]
    if not tree:
        return [(prefix, {})]
    return [
        pair for key, value in tree.items() for pair in _flat(value, setting_name(f"{prefix}.{key}" if prefix else key))
    ]
