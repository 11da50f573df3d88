"""An archive as others see it: read without iotd's stores, so that the checker shares none of their errors."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from pcodec.standalone import simple_decompress

from iotd.config import Settings
from iotd.model.series import Series
from iotd.sources.simulator.source import Span
from tests.servers.checker import Store

_PAGE_MS = 3_600_000
"""Time asked for at once."""


class InfluxWitness:
    """A bucket, asked in Flux; a series with another unit, or with more tags, counts as the sensor's all the same."""

    def __init__(self, url: str, *, org: str, bucket: str, token: str) -> None:
        self._url = url
        self._org = org
        self._bucket = bucket
        self._token = token

    async def samples(self, sensor: Series, span: Span) -> AsyncIterator[tuple[int, float]]:
        for first in range(span.first, span.last + 1, _PAGE_MS):
            last = min(first + _PAGE_MS - 1, span.last)
            for row in await self._query(
                f'from(bucket: "{self._bucket}")'
                f" |> range(start: {_time(first)}, stop: {_time(last + 1)})"
                f' |> filter(fn: (r) => r._measurement == "{sensor.type}")'
                f' |> filter(fn: (r) => r.location == "{sensor.location}" and r.sensor_id == "{sensor.sensor_id}")'
                f' |> group() |> sort(columns: ["_time"]) |> keep(columns: ["_time", "_value"])'
            ):
                yield _ms(row["_time"]), float(row["_value"])

    async def _query(self, flux: str) -> list[dict[str, str]]:
        headers = {
            "Authorization": f"Token {self._token}",
            "Content-Type": "application/vnd.flux",
            "Accept": "application/csv",
        }
        async with (
            aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=60)) as session,
            session.post(f"{self._url}/api/v2/query", params={"org": self._org}, data=flux.encode()) as answer,
        ):
            text = await answer.text()
            assert answer.status == 200, text
        return [row for row in csv.DictReader(io.StringIO(text.replace("\r\n", "\n"))) if row["_time"] != "_time"]


class EmbeddedWitness:
    """The file of an embedded archive; whoever writes it may go on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def samples(self, sensor: Series, span: Span) -> AsyncIterator[tuple[int, float]]:
        for time, value in embedded_rows(self._path, sensor):
            if span.first <= time <= span.last:
                yield time, value


def embedded_rows(path: Path, sensor: Series) -> list[tuple[int, float]]:
    """All readings of a sensor of an embedded archive, in time order; a block is two columns, times and values."""
    if not path.exists():
        return []  # no pass has begun
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'columns'").fetchall():
            return []  # the daemon is making it
        rows = db.execute(
            "SELECT times, vals FROM columns JOIN series ON columns.id >> 38 = series.id "
            "WHERE type = ? AND location = ? AND sensor_id = ? ORDER BY columns.id",
            (sensor.type, sensor.location, sensor.sensor_id),
        ).fetchall()
    found: list[tuple[int, float]] = []
    for times, values in rows:
        found += zip(_column(times), _column(values), strict=True)
    return found


def embedded_count(path: Path, location: str | None = None) -> int:
    """How many readings an embedded archive has, of a location or all: a block's header begins with its count."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
        rows = db.execute(
            "SELECT header FROM blocks JOIN series ON series = id WHERE ? IN (location, '')", (location or "",)
        ).fetchall()
    return sum(int.from_bytes(header[:8], "little") for (header,) in rows)


def _column(packed: bytes) -> list[Any]:
    column = simple_decompress(packed)
    assert column is not None
    values: list[Any] = column.tolist()
    return values


def archive_of(settings: Settings, *, token: str | None = None, url: str | None = None) -> Store:
    """The archive that these settings name, to be compared by :func:`tests.servers.checker.count`.

    Args:
        token: InfluxDB's, when not the one in the settings' files.
        url: where InfluxDB is itself, when the settings name a proxy in front of it.
    """
    influx = settings.influxdb
    if settings.archive.scheme == "embedded":
        return EmbeddedWitness(settings.state / "archive.sqlite")
    where = url or influx.url
    assert where is not None
    secret = token or (influx.token_file or settings.stack_token).read_text().strip()
    return InfluxWitness(where, org=influx.org, bucket=influx.bucket, token=secret)


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
