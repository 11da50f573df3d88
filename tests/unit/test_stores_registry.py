"""Which store the settings name, and that one from elsewhere is found by its entry point alone."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from iotd.config import Settings, load
from iotd.model.errors import ConfigError
from iotd.stores import registry
from iotd.stores.embedded.store import EmbeddedStore
from iotd.stores.influxdb.store import InfluxStore
from iotd.stores.registry import open_store
from tests.contract.memory import MemoryStore


def settings(folder: Path, store: str, **tables: Any) -> Settings:
    (folder / "iotd.toml").write_text(f'state_dir = "{folder}/state"\n[archive]\nstore = "{store}"\n')
    return load(folder / "iotd.toml", **tables)


async def test_auto_is_influxdb_where_there_is_one_else_embedded(tmp_path: Path) -> None:
    auto = settings(tmp_path, "auto")
    assert isinstance(open_store(auto), EmbeddedStore)
    assert isinstance(open_store(settings(tmp_path, "auto", influxdb={"url": "http://db:8086"})), InfluxStore)
    auto.stack_token.parent.mkdir()
    auto.stack_token.write_text("secret")
    assert isinstance(open_store(auto), InfluxStore)
    assert open_store(settings(tmp_path, "none")) is None


async def test_the_embedded_archive_may_lie_elsewhere(tmp_path: Path) -> None:
    here, there = (open_store(settings(tmp_path, url)) for url in ("embedded:", "embedded:/srv/archive.sqlite"))
    assert isinstance(here, EmbeddedStore)
    assert isinstance(there, EmbeddedStore)
    assert (here.path, there.path) == (tmp_path / "state" / "archive.sqlite", Path("/srv/archive.sqlite"))


async def test_another_is_one_package_and_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("memory", "tests.contract.memory:open_memory", registry.GROUP)
    broken = EntryPoint("broken", "tests.contract.nothing:open", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **by: EntryPoints([entry, broken]).select(**by))
    assert registry.known_schemes() == ["embedded", "influxdb", "broken", "memory"]
    found = open_store(settings(tmp_path, "memory://here/there?x=1"), read_only=True)
    assert isinstance(found, MemoryStore)
    assert found.identity == "memory://here/there?x=1"
    with pytest.raises(ConfigError, match="can't be loaded"):
        open_store(settings(tmp_path, "broken:"))


@pytest.mark.parametrize(
    ("url", "match"),
    [("parquet:", "there is no store 'parquet'; known are embedded, influxdb"), ("influxdb:x", r"influxdb\.url")],
)
def test_what_is_no_store_is_a_mistake_in_the_configuration(tmp_path: Path, url: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        open_store(settings(tmp_path, url))


@pytest.mark.parametrize("text", ["embedded", "Influx:", "http//x", "", "memory:a b"])
def test_what_is_no_url_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"archive\.store"):
        settings(tmp_path, text)


def test_the_setting_that_it_was_before_names_the_one_that_it_is(tmp_path: Path) -> None:
    (tmp_path / "iotd.toml").write_text('[archive]\nsink = "influxdb"\n')
    with pytest.raises(ConfigError, match=r'archive\.sink: no such setting; it is archive\.store now.*"influxdb:"'):
        load(tmp_path / "iotd.toml")
