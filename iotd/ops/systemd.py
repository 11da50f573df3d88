"""What systemd wants to know of a service (sd_notify(3)): ready, reloading, stopping, and that the loop still turns."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic_ns

from iotd.ops.loggers import get_logger

log = get_logger(__name__)


class Notifier:
    """Tells the service manager that started us, if one did; without one, nothing happens."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog_s: float | None = None
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            with suppress(ValueError):
                self._watchdog_s = int(environ.get("WATCHDOG_USEC", "")) / 1e6

    def ready(self, status: str) -> None:
        """The service is up, or up again after a reload."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """The configuration is being read anew; :meth:`ready` ends that."""
        # a unit with Type=notify-reload tells by the time whether this answers its SIGHUP (sd_notify(3))
        self._tell("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}")

    def stopping(self, limit_s: float) -> None:
        """The service drains, and needs up to so many seconds for it."""
        self._tell("STOPPING=1", "STATUS=draining", f"EXTEND_TIMEOUT_USEC={round((limit_s + 10) * 1e6)}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._tell(f"STATUS={text}")

    async def watch(self) -> None:
        """Feeds the watchdog from the event loop until cancelled: a loop that hangs is killed and started again."""
        while self._watchdog_s is not None and self._address:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 3)

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # an address that begins with @ is in the abstract namespace, which begins with a zero byte
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as s:
                s.sendto("\n".join(lines).encode(), address)
        except OSError as e:
            log.warning("systemd_not_told", socket=self._address, reason=str(e), message=lines[0])
