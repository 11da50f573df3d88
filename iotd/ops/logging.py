"""Structured logs on stderr: JSON lines for a collector, colours for people; never in the way of the event loop."""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import Any

from iotd.config.tree import Tree
from iotd.ops.loggers import get_logger, structlog
from iotd.ops.redact import Redactor, hide_by_name
from iotd.ops.repeats import Repeats

_CLOSE_S = 3.0
"""How long leaving waits for a reader of stderr to take what is queued."""
_QUEUED = 10_000
"""Lines that wait for a slow reader of stderr; beyond that the newest are dropped and counted."""


class _Queue(QueueHandler):
    """Hands lines to the thread that writes them; a line that finds the queue full is counted instead."""

    def __init__(self) -> None:
        self.lines: queue.Queue[Any] = queue.Queue(_QUEUED)
        self.dropped = 0
        super().__init__(self.lines)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # a finished line: nothing to format, nothing that other handlers could need

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.lines.put_nowait(record)
        except queue.Full:
            self.dropped += 1  # under the handler's lock, as all that is enqueued


class _Stderr(logging.Handler):
    """Writes lines, without secrets, and how many were dropped before them."""

    def __init__(self, dropped: Callable[[], int]) -> None:
        super().__init__()
        self.redact: Callable[[str], str] = str
        self._dropped = dropped
        self._told = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.redact(record.getMessage()) + "\n")
            if (dropped := self._dropped()) > self._told:
                sys.stderr.write(
                    f'{{"event": "log_lines_dropped", "level": "warning", "time": "{now_text()}", '
                    f'"count": {dropped - self._told}}}\n'
                )
                self._told = dropped
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # stderr is gone; the daemon goes on


class _Listener(QueueListener):
    """Writes in a thread of its own, so that a full pipe never stops the loop."""

    def enqueue_sentinel(self) -> None:
        assert isinstance(self.queue, queue.Queue)
        self.queue.put(None)  # waits for room; put_nowait, the default, fails when there is none

    def close(self) -> None:
        """Writes what waits, as long as somebody reads: stop() by itself would wait for a reader that never does."""
        ending = threading.Thread(target=self.stop, name="log-end", daemon=True)
        ending.start()
        ending.join(_CLOSE_S)


class _Forward(logging.Handler):
    """Sends what libraries log the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        get_logger().log(
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
    lines = _Queue()
    stderr = _Stderr(lambda: lines.dropped)
    listener = _Listener(lines.lines, stderr)
    listener.start()
    forward = _Forward(logging.WARNING)
    logging.getLogger().addHandler(forward)

    def set_up(settings: Tree) -> None:
        stderr.redact = Redactor(settings)
        _configure(settings, lines)

    set_up(settings)
    try:
        yield set_up
    finally:
        logging.getLogger().removeHandler(forward)
        structlog.reset_defaults()
        listener.close()


def _configure(settings: Tree, lines: _Queue) -> None:
    people = settings.logging.format == "console" or (settings.logging.format == "auto" and sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.logging.level.upper()]
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
        logger_factory=lambda *args: _Line(lines),
        cache_logger_on_first_use=False,
    )


class _Line:
    """What structlog hands its finished line to."""

    def __init__(self, lines: _Queue) -> None:
        self._lines = lines

    def msg(self, line: str) -> None:
        self._lines.handle(logging.makeLogRecord({"msg": line}))

    log = debug = info = warning = warn = error = err = critical = fatal = exception = failure = msg
