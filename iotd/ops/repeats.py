"""Warnings that come again and again: the first ones are logged, and later how many were not."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from time import monotonic
from typing import Any

from iotd.ops.loggers import structlog

_AT_MOST = 10
_WINDOW_S = 60.0
_ABOUT = ("event", "shard", "task", "sentinel", "node", "logger")
"""Two lines that agree in these are repeats of one another."""
_KEYS = 10_000


class Repeats:
    """A processor of structlog that lets ten warnings of a kind through in a minute.

    What fails for long is logged once when it begins and once when it ends by whoever notices; this is for what
    begins and ends all the time. The first line after the minute has ``suppressed``, how many were left out.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._seen: dict[tuple[Any, ...], tuple[float, int]] = {}

    def __call__(self, _: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Raises structlog.DropEvent for a line that is not to be logged."""
        if method in ("debug", "info"):
            return event
        key = tuple(event.get(name) for name in _ABOUT)
        now = self._now()
        began, count = self._seen.get(key, (now, 0))
        if now - began >= _WINDOW_S:
            if count > _AT_MOST:
                event["suppressed"] = count - _AT_MOST
            began, count = now, 0
        if len(self._seen) >= _KEYS:
            self._seen.clear()
        self._seen[key] = (began, count + 1)
        if count >= _AT_MOST:
            raise structlog.DropEvent
        return event
