"""What `iotd up` shows: servers, history with a progress bar, and what to do next."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from iotd.cli.output import console
from iotd.cli.stack import summary
from iotd.config import Settings
from iotd.stack import NodeReport


class UpScreen:
    """Everything goes to stderr, as the log does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._console = console(err=True)
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def tell(self, line: str) -> None:
        self._console.print(line)

    def servers(self, reports: list[NodeReport]) -> None:
        self._console.print(summary(reports))

    def ready(self, archive: str | None) -> None:
        """Says what can be done now; ``archive`` names where the archive is, None when there is none."""
        self._close_bars()
        iotd = command_name()
        rows = (
            ("status", "every shard, and what waits"),
            self._to_ask(),
            (f"failover-test --location {self._settings.served[0]}", "stop a master and watch"),
            ("archive status", "how far the archive is"),
        )
        width = max(len(iotd) + 1 + len(command) for command, _ in rows)
        self._console.print(
            "\n[bold]iotd is running.[/bold] In another terminal:\n"
            + "".join(f"  [cyan]{f'{iotd} {command}':<{width}}[/cyan]    {what}\n" for command, what in rows)
            + f"The archive: {archive or 'none (archive.store)'}\n"
            f"Ctrl-C stops the daemon, `{iotd} down` (`make down`) the servers.\n"
        )

    def _to_ask(self) -> tuple[str, str]:
        """The command that shows readings: of a sensor that there is."""
        from iotd.intake.catalogue import catalogued  # noqa: PLC0415  # brings numpy

        settings = self._settings
        seen = [one for one in catalogued(settings.state / "catalogue.sqlite") or () if one.location in settings.served]
        if seen:
            return f"query location {seen[0].location} {seen[0].type}", "the last hour"
        if settings.simulates:
            return f"query location {settings.served[0]} {settings.sensors.types[0]}", "the last hour"
        return "sensors", "which sensors have spoken (none yet)"

    def progress(self, what: str, done: int, total: int) -> None:
        """Moves the bar of ``what``; it appears with the first call and goes when all is done."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                console=self._console, transient=True,
            )  # fmt: skip
            self._bars.start()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)
        if self._bars.finished:
            self._close_bars()

    def _close_bars(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars, self._tasks = None, {}

    def __enter__(self) -> UpScreen:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_bars()

    def goodbye(self) -> None:
        iotd = command_name()
        self._console.print(f"the daemon has ended; `{iotd} up` goes on, `{iotd} down` stops the servers")


def command_name() -> str:
    """How a person calls this program from here: `iotd` where that is on PATH, else by its path."""
    if shutil.which("iotd") or Path(sys.argv[0]).name != "iotd":
        return "iotd"
    try:
        return str(Path(sys.argv[0]).absolute().relative_to(Path.cwd()))
    except ValueError:
        return sys.argv[0]
