"""Structured logs on stderr: JSON lines for a collector, colours for people; never in the way of the event loop."""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import structlog

from iotd.config.tree import Tree
from iotd.ops.redact import Redactor, hide_by_name
from iotd.ops.repeats import Repeats

_QUEUED = 10_000
"""Lines that wait for a slow reader of stderr; beyond that the newest are dropped and counted."""


class _Writer:
    """Writes lines in a thread of its own, so that a full pipe never stops the loop."""

    def __init__(self) -> None:
        self.redact: Callable[[str], str] = str
        self._lines: queue.Queue[str | None] = queue.Queue(_QUEUED)
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                sys.stderr.write(self.redact(line) + "\n")
                if dropped := self._dropped:
                    self._dropped -= dropped
                    sys.stderr.write(
                        f'{{"event": "log_lines_dropped", "level": "warning", "time": "{now_text()}", '
                        f'"count": {dropped}}}\n'
                    )
                sys.stderr.flush()
            except (OSError, ValueError):
                pass  # stderr is gone; the daemon goes on

    def close(self) -> None:
        try:
            self._lines.put(None, timeout=1)
        except queue.Full:
            return  # nobody reads: leave without the rest
        self._thread.join(2)


class _Forward(logging.Handler):
    """Sends what libraries log the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            min(record.levelno // 10 * 10, logging.CRITICAL),  # structlog knows no levels between
            "library_log",
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


def now_text() -> str:
    """The time as logs have it: UTC, ISO 8601, ms."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stamp(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {"time": now_text(), **event}


@contextmanager
def logging_to(settings: Tree) -> Iterator[Callable[[Tree], None]]:
    """Sets logging up as the settings say, and gives a function that does it anew with others.

    JSON lines have ``time`` (UTC, ISO 8601, ms), ``level``, ``event`` (a stable name in snake_case, see EVENTS.md),
    ``shard`` where it concerns one, and what belongs to the event. On leaving, what waits is written.
    """
    writer = _Writer()
    forward = _Forward(logging.WARNING)
    logging.getLogger().addHandler(forward)

    def set_up(settings: Tree) -> None:
        writer.redact = Redactor(settings)
        _configure(settings, writer)

    set_up(settings)
    try:
        yield set_up
    finally:
        logging.getLogger().removeHandler(forward)
        structlog.reset_defaults()
        writer.close()


def _configure(settings: Tree, writer: _Writer) -> None:
    people = settings.log.format == "console" or (settings.log.format == "auto" and sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.log.level.upper()]
    shared: list[Any] = [structlog.stdlib.add_log_level, Repeats(), hide_by_name]
    if people:
        finish: list[Any] = [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="timestamp"),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=26),
        ]
    else:
        finish = [
            _stamp,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
    structlog.configure(
        processors=[*shared, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *args: _Line(writer),
        cache_logger_on_first_use=False,
    )


class _Line:
    """What structlog hands its finished line to."""

    def __init__(self, writer: _Writer) -> None:
        self._write = writer.write

    def msg(self, line: str) -> None:
        self._write(line)

    log = debug = info = warning = warn = error = err = critical = fatal = exception = failure = msg
