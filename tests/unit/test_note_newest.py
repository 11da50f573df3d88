"""After a kill the catalogue knows the newest readings again, though it was not saved: from the end of the log."""

from __future__ import annotations

from pathlib import Path

from iotd.daemon.startup import note_newest
from iotd.intake.catalogue import Catalogue
from iotd.log.budget import Budget
from iotd.log.embedded import EmbeddedLog
from iotd.model.instants import NEVER
from iotd.model.observation import Observation, Piece
from tests.unit.test_intake import NOW, opened


def piece(value: float) -> Piece:
    return Piece("json", "t", b"as it came", [Observation("temperature", "north", value, "salon")])


async def test_what_came_last_is_known_again_and_what_comes_next_replaces_none_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        for n in range(600):
            await (await rig.intake.of("mqtt").observe([piece(n / 100)]))
    # as if it had never been saved
    catalogue = Catalogue(tmp_path / "catalogue.sqlite")
    log = EmbeddedLog(tmp_path / "log", catalogue, budget=Budget(10**7), limit=10**9)
    try:
        assert catalogue.newest[0] == NEVER
        await note_newest(log, catalogue, ("salon", "cuisine"))
        assert (catalogue.newest[0], catalogue.values[0]) == (NOW + 599, 5.99)
    finally:
        await log.close()
        catalogue.close()
    async with opened(tmp_path) as rig:
        await note_newest(rig.log, rig.catalogue, ("salon",))
        await (await rig.intake.of("mqtt").observe([piece(7.0), piece(8.0)]))
        times, after = list[tuple[int, float]](), 0
        while records := await rig.log.partition("salon").read(after, 10**6):
            for record in records:
                times += zip(record.times.tolist(), record.values.tolist(), strict=True)
            after = records[-1].sequence
        assert times[-2:] == [(NOW + 600, 7.0), (NOW + 601, 8.0)]
        assert len({time for time, _ in times}) == 602
        assert await rig.held() == []
