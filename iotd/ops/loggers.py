"""Loggers: structlog, imported without rich.

structlog's renderer for developers takes rich in wherever it is installed, for coloured tracebacks: 5 MiB of every
daemon, and 40 ms of every command (``python -X importtime -m iotd status``). Ours are plain.
"""

from __future__ import annotations

import sys

if "structlog" not in sys.modules and "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # "not found" (docs.python.org, the import system)
    try:
        import structlog
    finally:
        del sys.modules["rich"]

import structlog
from structlog import get_logger

__all__ = ["get_logger", "structlog"]
