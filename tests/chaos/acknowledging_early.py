"""The daemon that acknowledges readings before they are on disk, so that the witnesses are seen to see a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from iotd.cli import main
from iotd.intake.accumulator import Accumulator
from iotd.model.batch import Batch

_add, _add_batches, _append = Accumulator.add, Accumulator.add_batches, Accumulator.append


def _done() -> asyncio.Future[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


def _early_add(self: Accumulator, location: str, number: int, time: int, value: float) -> asyncio.Future[None]:
    _add(self, location, number, time, value)
    return _done()


def _early_add_batches(
    self: Accumulator, batches: Sequence[Batch], positions: Mapping[str, bytes], *, waits: bool
) -> asyncio.Future[None]:
    _add_batches(self, batches, positions, waits=False)  # nobody does
    return _done()


def _early_append(self: Accumulator, batches: Sequence[Batch], positions: Mapping[str, bytes]) -> asyncio.Future[None]:
    _append(self, batches, positions)
    return _done()


if __name__ == "__main__":
    Accumulator.add = _early_add  # type: ignore[method-assign]
    Accumulator.add_batches = _early_add_batches  # type: ignore[method-assign]
    Accumulator.append = _early_append  # type: ignore[method-assign]
    main()
