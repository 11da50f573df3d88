"""What a fault is, and the list of all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random

from tests.chaos.world import World

Fault = Callable[[World, Random], AbstractAsyncContextManager[str]]
"""Strikes on entering, says what it struck, heals on leaving (servers that it killed are brought back by the world)."""

FAULTS: dict[str, Fault] = {}

_NEEDS: dict[str, Callable[[World], str | None]] = {}

_Strike = Callable[[World, Random], AsyncIterator[str]]


def fault(strike: _Strike) -> Fault:
    """Adds a fault to the list, under its name with spaces."""
    made = asynccontextmanager(strike)
    FAULTS[strike.__name__.replace("_", " ")] = made
    return made


def fault_that_needs(lacking: Callable[[World], str | None]) -> Callable[[_Strike], Fault]:
    """The same, for one that not every world can have; ``lacking`` says what is not there, None when all is."""

    def add(strike: _Strike) -> Fault:
        _NEEDS[strike.__name__.replace("_", " ")] = lacking
        return fault(strike)

    return add


def lacks(name: str, world: World) -> str | None:
    """Why a world can't have this fault; None when it can."""
    needs = _NEEDS.get(name)
    return needs(world) if needs else None
