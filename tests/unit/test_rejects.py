"""Dead letters of the archive, when what they hold is deleted."""

from __future__ import annotations

from pathlib import Path

from iotd.archive.rejects import Rejects, dead_letters
from iotd.archive.state import ArchiveState
from iotd.model.series import Series
from iotd.stores.points import Points
from tests.contract.memory import MemoryStore

ONE, TWO = (Series("temperature", "salon", n) for n in ("1", "2"))


async def test_what_was_deleted_is_not_sent_again_and_the_rest_is(tmp_path: Path) -> None:
    store, state = MemoryStore(), ArchiveState(tmp_path / "watermarks.sqlite")
    state.use(store.identity)
    rejects = Rejects(store, dead_letters(tmp_path), state)
    ticks = [(1000 * n, b"%d" % n) for n in range(6)]
    await rejects.add([Points.of(series, ticks) for series in (ONE, TWO)], "not now")
    await rejects.forget(ONE, 1000, 3000)
    await rejects.forget(Series("temperature", "salon", "3"), 0, 9000)
    retried = await rejects.retry()
    assert (retried.accepted, retried.refused) == (9, 0)
    assert {series: sorted(held) for series, held in store.held.items()} == {
        ONE: [0, 4000, 5000],
        TWO: [0, 1000, 2000, 3000, 4000, 5000],
    }
    state.close()
