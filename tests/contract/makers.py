"""The stores that the contract suite is run on, each made empty: a new back end is a line here."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iotd.model.buckets import HOUR
from iotd.stores.base import Store
from iotd.stores.embedded.store import EmbeddedStore
from iotd.stores.influxdb.store import InfluxStore
from iotd.stores.registry import open_store
from iotd.stores.renamed import Former, RenamedStore
from tests.contract.memory import MemoryStore
from tests.servers.influxdb import InfluxServer
from tests.servers.system import make_settings

Make = Callable[[pytest.FixtureRequest, Path], Store]


def influx_store(server: InfluxServer, folder: Path, **overrides: Any) -> InfluxStore:
    """A store in a real InfluxDB, whose token is in ``folder``.

    Args:
        overrides: settings of [influxdb].
    """
    token = folder / "token"
    token.parent.mkdir(parents=True, exist_ok=True)
    if not token.exists():
        token.write_text(server.token)
    values = {"url": server.url, "org": server.org, "token_file": str(token), **overrides}
    settings = make_settings(folder, 12_000, ["salon"], influxdb=values)
    assert settings.influxdb.url is not None
    return InfluxStore(settings, settings.influxdb.url)


def _influxdb(request: pytest.FixtureRequest, folder: Path) -> Store:
    server: InfluxServer = request.getfixturevalue("influxdb")
    return influx_store(server, folder, bucket=server.make_bucket(f"b{uuid.uuid4().hex}"))


def _plugin(request: pytest.FixtureRequest, folder: Path) -> Store:
    url = os.environ["IOTD_TEST_STORE"].replace("{name}", f"t{uuid.uuid4().hex}")
    store = open_store(make_settings(folder, 12_000, ["salon"], archive={"store": url}))
    assert store is not None
    return store


def _renamed(request: pytest.FixtureRequest, folder: Path) -> Store:
    """Salon was called otherwise, twice, in the midst of the time that the suite writes readings of."""
    moments = [HOUR * (1_790_000_000_000 // HOUR + n) - 1 for n in (1, 3)]
    formers = {"salon": [Former("corridor", moments[0]), Former("parlour", moments[1])]}
    return RenamedStore(EmbeddedStore(folder / "archive.sqlite"), formers)


MAKERS: dict[str, Make] = {
    "embedded": lambda request, folder: EmbeddedStore(folder / "archive.sqlite"),
    "influxdb": _influxdb,
    "memory": lambda request, folder: MemoryStore(),
    "renamed": _renamed,
}
if "IOTD_TEST_STORE" in os.environ:
    MAKERS["plugin"] = _plugin
