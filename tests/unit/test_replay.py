"""What is held is tried again: once each, with the time at which it arrived, in whatever form it came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from iotd.daemon.replay import Replayed, replay
from iotd.intake.resolve import Assignment, Resolver
from iotd.model.errors import Refused
from iotd.model.held import Held
from iotd.model.observation import Message, Names, Piece
from iotd.model.types import BUILT_IN
from iotd.sources.forms import pieces_of
from iotd.sources.http.jsonreadings import objects
from iotd.sources.http.linereader import LineReader, Lines
from iotd.sources.http.pieces import json_pieces, webhook_piece
from tests.intakes import world
from tests.unit.test_intake import NOW, opened
from tests.unit.test_observer import Observing

ATTIC = {"salon": (), "cuisine": (), "attic": ()}
JSON = b'{"type": "temperature", "location": "attic", "sensor": "top", "value": 20.5}'
FORM = "application/x-www-form-urlencoded"
LINE = b"climate,room=attic,sensor=top temperature=20.5,humidity=41"
ECOWITT = b"PASSKEY=secret&stationtype=GW&dateutc=now&tempf=68.0&humidity=40"


def _lines(body: bytes, names: Names) -> list[Lines]:
    return [LineReader().read(body, "/write?precision=s", "s", names)]


@pytest.mark.parametrize("form", ["json", "lines", "webhook"])
async def test_what_was_held_is_taken_when_its_room_is_known(tmp_path: Path, form: str) -> None:
    async with opened(tmp_path) as rig:
        observing = Observing(rig)
        forms: dict[str, Callable[[], Sequence[Message]]] = {
            "json": lambda: json_pieces([{"type": "temperature", "location": "attic", "sensor": "top", "value": 20.5}]),
            "lines": lambda: _lines(LINE, observing.source.names),
            "webhook": lambda: [
                webhook_piece("ecowitt", "application/x-www-form-urlencoded", {"location": "attic"}, ECOWITT)
            ],
        }
        held = await observing.take(forms[form]())
        assert held
        rig.now += 3_600_000
        rig.intake.spoke.clear()
        for _ in range(2):
            assert await replay(rig.intake, {}) == Replayed(held=len(held))
        assert len(await rig.held()) == len(held)
        # that somebody tries it again is no sign of life, and nothing more is held
        assert rig.intake.spoke == {}
        assert rig.intake.counts["http"].held == len(held)
        rig.intake.use(world(ATTIC))
        rig.intake.locations.add("attic")
        assert await replay(rig.intake, {}) == Replayed(taken=len(held))
        assert await rig.held() == []
        found = await observing.values("attic")
        assert {time for time, _ in found} == {NOW}
        assert len(found) >= len(held)
        assert await replay(rig.intake, {}) == Replayed()


async def test_of_a_payload_only_what_is_held_is_tried_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        observing = Observing(rig)
        held = await observing.take(
            _lines(b"c,room=salon,sensor=n temperature=20.5,humidity=410", observing.source.names)
        )
        assert [one.sensor for one in held] == ["humidity n"]
        rig.now += 1_000
        assert await replay(rig.intake, {}) == Replayed(held=1)
        assert await observing.values() == [(NOW, 20.5)]


async def test_what_is_of_no_known_form_stays_and_what_is_still_refused_has_its_new_reason(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        observing = Observing(rig)
        top = json_pieces([{"type": "temperature", "sensor": "top", "value": 20.5, "location": "attic"}])
        await observing.take([Piece("", "x.csv", b"half a li", (), Refused("not a line", "")), *top])
        rig.intake.use(world(assignments={"top": Assignment("cuisine")}))
        (_, said) = await rig.held()
        await rig.intake.held.add([replace(said, reason="another", detail="why")])
        assert [one.reason for one in await rig.held()] == ["not a line", "another"]
        assert await replay(rig.intake, {}, reason="another") == Replayed(taken=1)
        assert await observing.values("cuisine") == [(NOW, 20.5)]
        assert await replay(rig.intake, {}) == Replayed(unreadable=1)


async def test_a_reading_from_the_future_is_taken_when_its_time_has_come(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        observing = Observing(rig)
        said = (
            f'{{"type": "temperature", "sensor": "n", "location": "salon", "value": 20.5, "time": {NOW + 7_200_000}}}'
        )
        assert [one.reason for one in await observing.take(json_pieces(objects(said.encode())))] == ["in the future"]
        rig.now += 7_200_000
        assert await replay(rig.intake, {}) == Replayed(taken=1)
        assert await observing.values() == [(NOW + 7_200_000, 20.5)]


@pytest.mark.parametrize("form", ["", "lines", "webhook ", "webhook radio", "csv", "json"])
def test_any_bytes_are_read_or_refused(form: str) -> None:
    for payload in (b"", b"\xff\xfe", b"{", b"[1]", b"a b=c"):
        with suppress(Refused):
            pieces_of(Held("s", form, "/write?precision=s line 1", payload, NOW, "r"), Resolver(BUILT_IN, {}, {}))
