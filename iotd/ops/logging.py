"""Structured logs on stderr: JSON lines for a collector, colours for people; never in the way of the event loop."""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from iotd.settings.tree import Log

_QUEUED = 10_000
"""Lines that wait for a slow reader of stderr; beyond that the newest are dropped and counted."""
_SECRETS = ("password", "token", "secret", "authorization")


class _Writer:
    """Writes lines in a thread of its own, so that a full pipe never stops the loop."""

    def __init__(self) -> None:
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
                sys.stderr.write(line + "\n")
                if dropped := self._dropped:
                    self._dropped -= dropped
                    sys.stderr.write(f'{{"event": "log_lines_dropped", "count": {dropped}}}\n')
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
        log = structlog.get_logger(record.name)
        log.log(record.levelno, "library_log", message=record.getMessage(), exc_info=record.exc_info)


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in event:
        if any(secret in key.lower() for secret in _SECRETS):
            event[key] = "[secret]"
    return event


@contextmanager
def logging_to(settings: Log) -> Iterator[None]:
    """Sets logging up as the settings say; on leaving, what waits is written.

    JSON lines have ``time`` (UTC, ISO 8601, ms), ``level``, ``event`` (a stable name in snake_case), ``logger``, and
    what belongs to the event.
    """
    writer = _Writer()
    people = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Any] = [structlog.stdlib.add_log_level, _redact]
    if people:
        finish: list[Any] = [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="timestamp"),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=26),
        ]
    else:
        finish = [
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    structlog.configure(
        processors=[*shared, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *args: _Line(writer),
        cache_logger_on_first_use=False,
    )
    forward = _Forward(logging.WARNING)
    logging.getLogger().addHandler(forward)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(forward)
        structlog.reset_defaults()
        writer.close()


class _Line:
    """What structlog hands its finished line to."""

    def __init__(self, writer: _Writer) -> None:
        self._write = writer.write

    def msg(self, line: str) -> None:
        self._write(line)

    log = debug = info = warning = warn = error = err = critical = fatal = exception = failure = msg
