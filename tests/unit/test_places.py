"""Which of the default ports are a location's: given once, remembered, and never another's."""

from __future__ import annotations

import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given as for_all

from iotd.config import Settings, load
from iotd.config.places import given, metadata_file, remembered
from iotd.config.topology import topology
from iotd.model.errors import ConfigError
from iotd.shards.failovers import note_places

NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1)


def settings(folder: Path, *locations: str, more: str = "") -> Settings:
    config = folder / "iotd.toml"
    config.write_text(f"locations = {json.dumps(locations)}\nstate_dir = {json.dumps(str(folder))}\n{more}")
    return load(config)


def noted(folder: Path, *locations: str, more: str = "") -> Settings:
    made = settings(folder, *locations, more=more)
    note_places(made, topology(made).shards)
    return made


def ports(made: Settings) -> dict[str, int]:
    return {shard.location: shard.master.address.port for shard in topology(made).shards}


@for_all(st.lists(NAMES, min_size=1, max_size=6))
def test_whatever_is_configured_one_after_the_other_no_place_moves_and_none_is_shared(lists: list[list[str]]) -> None:
    known: dict[str, int] = {}
    for locations in lists:
        places = given(locations, known)
        assert list(places) == locations
        assert all(places[name] == known[name] for name in locations if name in known)
        known |= places
        assert len(set(known.values())) == len(known)
    assert given(lists[0], {}) == {name: n for n, name in enumerate(lists[0])}


def test_order_additions_in_front_and_removals_move_nobody(tmp_path: Path) -> None:
    first = ports(noted(tmp_path, "salon", "chambre1", "cuisine"))
    assert first == {"salon": 6379, "chambre1": 6381, "cuisine": 6383}
    assert ports(noted(tmp_path, "cuisine", "salon", "chambre1")) == first
    assert ports(noted(tmp_path, "grenier", "cuisine", "chambre1")) == {
        "grenier": 6385,
        "cuisine": 6383,
        "chambre1": 6381,
    }
    assert ports(noted(tmp_path, "salon", "cave")) == {"salon": 6379, "cave": 6387}


def test_what_version_0_1_noted_gives_the_place_too(tmp_path: Path) -> None:
    for location, port in (("salon", 6379), ("cuisine", 6381), ("far", 7000)):
        file = metadata_file(tmp_path, location)
        file.parent.mkdir(exist_ok=True)
        nodes = {f"redis-{location}-master": f"127.0.0.1:{port}", f"redis-{location}-replica": f"127.0.0.1:{port + 1}"}
        file.write_text(json.dumps({"location": location, "nodes": nodes}))
    made = settings(tmp_path, "cuisine", "salon")
    assert ports(made) == {"cuisine": 6381, "salon": 6379}
    assert made.known["far"].place is None, "servers of its own"


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"nodes": 3}', '{"nodes": {"redis-a": "x"}}', "\xff"])
def test_metadata_that_can_not_be_read_say_nothing(tmp_path: Path, content: str) -> None:
    file = metadata_file(tmp_path, "salon")
    file.parent.mkdir()
    file.write_text(content, encoding="latin-1")
    assert ports(settings(tmp_path, "cuisine", "salon")) == {"cuisine": 6379, "salon": 6381}
    assert remembered(tmp_path / "none", settings(tmp_path, "salon").topology) == {}


def test_servers_of_another_location_are_refused_whether_it_is_configured_or_not(tmp_path: Path) -> None:
    noted(tmp_path, "salon", "cuisine")
    theirs = '[topology.shards.{}]\nmaster = "127.0.0.1:{}"\nreplica = "127.0.0.1:{}"\n'
    exchanged = theirs.format("salon", 6381, 6382) + theirs.format("cuisine", 6379, 6380)
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:6381, which is cuisine's"):
        settings(tmp_path, "salon", "cuisine", more=exchanged)
    with pytest.raises(ConfigError, match=r"which is cuisine's.*sharding_metadata/cuisine\.json"):
        settings(tmp_path, "salon", "new", more=theirs.format("new", 6381, 6382))
    with pytest.raises(ConfigError, match="which is salon's"):
        settings(tmp_path, "new", more=theirs.format("new", 6400, 6380))
    metadata_file(tmp_path, "cuisine").unlink()
    assert ports(settings(tmp_path, "salon", "new", more=theirs.format("new", 6381, 6382)))["new"] == 6381
