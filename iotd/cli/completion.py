"""`iotd completion`: what a shell needs to complete iotd's commands, options, rooms and nodes."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from iotd.model.errors import UsageError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a SHELL.

    \b
    bash: echo 'eval "$(iotd completion bash)"' >> ~/.bashrc
    zsh:  echo 'eval "$(iotd completion zsh)"' >> ~/.zshrc
    fish: iotd completion fish > ~/.config/fish/completions/iotd.fish
    """
    made = get_completion_class(shell)
    if made is None:
        raise UsageError(f"no completion for {shell}")
    click.echo(made(ctx.find_root().command, {}, "iotd", "_IOTD_COMPLETE").source())
