"""What `iotd up` shows: servers, history with a progress bar, and what to do next."""

from __future__ import annotations

from typing import Any

from iotd.cli.output import console
from iotd.cli.stack import summary
from iotd.settings import Settings
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
        self._console.print(
            "\n[bold]iotd is running.[/bold] In another terminal:\n"
            "  [cyan]iotd status[/cyan]                            every shard, replication, what waits\n"
            "  [cyan]iotd failover-test --location salon[/cyan]    stop a master and watch the failover\n"
            "  [cyan]iotd archive status[/cyan]                    how far the archive is\n"
            f"The archive: {archive or 'none (archive.sink)'}\n"
            "Ctrl-C stops the daemon, `iotd down` (`make down`) the servers.\n"
        )

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
        self._console.print("the daemon has ended; the servers still run: `iotd up` goes on, `iotd down` stops them")
