"""The daemon as a process: its event loop and its signals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from iotd.config import Settings
from iotd.daemon.daemon import Daemon
from iotd.daemon.runtime import Progress
from iotd.health.clock import CheckedClock
from iotd.ops.loggers import get_logger

log = get_logger(__name__)


def run_daemon(
    settings: Settings,
    *,
    reread: Callable[[], Settings],
    relog: Callable[[Settings], None],
    history: bool = False,
    progress: Progress | None = None,
    ready: Callable[[str | None], None] = lambda archive: None,
    clock: CheckedClock | None = None,
) -> None:
    """Runs the daemon until SIGTERM or SIGINT; a second one leaves at once, the log keeps what is not durable.

    SIGHUP reloads the configuration, unless it comes because the terminal we run in was closed: that ends us.

    Args:
        clock: what readings go by; None: the machine's.

    Raises:
        IotdError: a fault that cannot mend.
    """

    async def main() -> None:
        daemon = Daemon(
            settings, reread=reread, relog=relog, history=history, progress=progress, ready=ready, clock=clock
        )
        loop = asyncio.get_running_loop()
        life = asyncio.current_task()
        assert life is not None
        in_terminal = _terminal()

        def asked_to_end() -> None:
            if daemon.stopping:
                log.warning("leaving_at_once")
                life.cancel()
            daemon.stop()

        def hung_up() -> None:
            if in_terminal and not _terminal():
                asked_to_end()
            else:
                daemon.reload()

        with contextlib.suppress(NotImplementedError, AttributeError):  # Windows: Ctrl-C arrives as KeyboardInterrupt
            loop.add_signal_handler(signal.SIGTERM, asked_to_end)
            loop.add_signal_handler(signal.SIGINT, asked_to_end)
            loop.add_signal_handler(signal.SIGHUP, hung_up)
        try:
            await daemon.run()
        except asyncio.CancelledError:
            if not daemon.stopping:
                raise

    try:
        import uvloop  # noqa: PLC0415  # not on Windows
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())


def _terminal() -> bool:
    """Whether we have a controlling terminal; once it is closed, it can't be opened any more."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
