"""What a fault is, and the list of all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random

from tests.chaos.world import World

Fault = Callable[[World, Random], AbstractAsyncContextManager[str]]
"""Strikes on entering, says what it struck, heals on leaving (servers that it killed are brought back by the world)."""

FAULTS: dict[str, Fault] = {}


def fault(strike: Callable[[World, Random], AsyncIterator[str]]) -> Fault:
    """Adds a fault to the list, under its name with spaces."""
    made = asynccontextmanager(strike)
    FAULTS[strike.__name__.replace("_", " ")] = made
    return made
