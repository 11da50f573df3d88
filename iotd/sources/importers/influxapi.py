"""What is asked of a live InfluxDB, by Flux (2.x) or InfluxQL (1.x, and 2.x by its older API): points of a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Protocol

import aiohttp

from iotd.model.errors import ArchiveUnavailable, IotdError, Refused, UsageError
from iotd.model.observation import Names, Observation
from iotd.sources.http.lines import observations, parted
from iotd.sources.importers.annotated import Tables, renaming
from iotd.sources.importers.influxserver import Server, Where

Said = list[Observation] | Refused
"""What one point says."""

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
_SHOWN = 20
"""Names that a message lists."""
_CHUNK = 5_000
"""Points of a piece of InfluxQL's answer."""
END = 7_258_118_400_000
"""2200-01-01, ms: no point is later."""


class Api(Protocol):
    """One bucket or database."""

    async def find(self) -> None:
        """Sees that it is there, and the measurements that are asked for.

        Raises:
            UsageError: it is not; the message says what there is.
        """

    async def edge(self, first: int, stop: int, *, newest: bool = False) -> int | None:
        """The time (ms) of the oldest, or the newest, point from ``first`` to before ``stop``; None: there is none."""

    def points(self, first: int, stop: int) -> AsyncIterator[Said]:
        """All points from ``first`` to before ``stop``, ms.

        Raises:
            ArchiveUnavailable: the answer ended in its middle.
        """


@asynccontextmanager
async def connected(where: Where, columns: Mapping[str, str], names: Names) -> AsyncIterator[Api]:
    """The API of a server, whose kind it says itself.

    Raises:
        UsageError: there is no InfluxDB, or it is asked for what its version does not have.
        ArchiveUnavailable: there is no answer.
    """
    headers = {"Authorization": f"Token {where.token}"} if where.token else {}
    if where.user:
        headers = {"Authorization": aiohttp.encode_basic_auth(where.user, where.password or "", "utf-8")}
    async with aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT, trust_env=True) as session:
        server = Server(session, where.url.rstrip("/"))
        old = (await server.version()).startswith("1.")
        if where.bucket is None and where.database is None:
            raise UsageError(f"{where.url}: say what to import: {'--database NAME' if old else '--bucket NAME'}")
        if old and where.bucket is not None:
            raise UsageError(f"{where.url}: it is InfluxDB 1, which has databases: --database NAME")
        yield _Flux(server, where, columns, names) if where.bucket else _InfluxQL(server, where, columns, names)


class _Flux:
    def __init__(self, server: Server, where: Where, columns: Mapping[str, str], names: Names) -> None:
        self._server = server
        self._where = where
        self._columns = columns
        self._names = names
        renaming(columns)
        self._bucket = self._org = ""

    async def find(self) -> None:
        where = self._where
        org = {"org": where.org} if where.org else {}
        try:
            said = await self._server.json("GET", "/api/v2/buckets", params={"name": str(where.bucket), **org})
        except UsageError as e:
            raise UsageError(f"{e}{await self._there(org)}") from None
        found = said.get("buckets") or []
        if not found:
            raise UsageError(f"{self._server.url}: no bucket {where.bucket!r}{await self._there(org)}")
        if len(found) > 1:
            raise UsageError(f"{self._server.url}: several organisations have a bucket {where.bucket!r}: name --org")
        self._bucket, self._org = found[0]["id"], found[0]["orgID"]
        if where.measurements:
            query = (
                f'import "influxdata/influxdb/schema"\nschema.measurements(bucket: {_text(found[0]["name"])}, start: 0)'
            )
            _require(self._server.url, where.measurements, [row["_value"] for row in await self._rows(query)])

    async def _there(self, org: Mapping[str, str]) -> str:
        try:
            said = await self._server.json("GET", "/api/v2/buckets", params={"limit": "100", **org})
        except IotdError:
            return ""
        there = (one["name"] for one in said.get("buckets") or [] if not one["name"].startswith("_"))
        return _listed(there, self._where.bucket)

    async def edge(self, first: int, stop: int, *, newest: bool = False) -> int | None:
        which, of = ("last", "max") if newest else ("first", "min")
        query = f'{self._of(first, stop)} |> {which}() |> keep(columns: ["_time"]) |> group() |> {of}(column: "_time")'
        found = [row["_time"] for row in await self._rows(query)]
        return round(datetime.fromisoformat(found[0]).timestamp() * 1000 // 1) if found else None

    async def points(self, first: int, stop: int) -> AsyncIterator[Said]:
        pivot = 'pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
        tables, rest = Tables(self._names, self._columns), b""
        async with self._asked(f"{self._of(first, stop)} |> {pivot}") as answer:
            async for piece in answer.content.iter_any():
                whole, rest = parted(rest + piece)
                for cells in csv.reader(io.StringIO(whole.decode(errors="replace"), newline="")):
                    if (one := self._row(tables, cells)) is not None:
                        yield one
        if rest:
            raise ArchiveUnavailable(f"{self._server.url}: the answer ended in its middle")

    def _row(self, tables: Tables, cells: Sequence[str]) -> Said | None:
        try:
            return tables.row(cells)
        except UsageError as e:
            raise UsageError(f"{self._server.url}: {e}") from None

    async def _rows(self, query: str) -> list[dict[str, str]]:
        async with self._asked(query) as answer:
            text = (await answer.read()).decode(errors="replace")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        found = list(csv.DictReader(lines))
        if found and found[0].get("error"):
            raise UsageError(f"{self._server.url}: {found[0]['error']}")
        return found

    def _asked(self, query: str) -> Any:
        dialect = {"annotations": ["group", "datatype", "default"], "header": True}
        body = {"query": query, "type": "flux", "dialect": dialect}
        return self._server.asked("POST", "/api/v2/query", params={"orgID": self._org}, json=body)

    def _of(self, first: int, stop: int) -> str:
        its = " or ".join(f"r._measurement == {_text(name)}" for name in self._where.measurements)
        only = f" |> filter(fn: (r) => {its})" if its else ""
        return f"from(bucketID: {_text(self._bucket)}) |> range(start: {_iso(first)}, stop: {_iso(stop)}){only}"


class _InfluxQL:
    def __init__(self, server: Server, where: Where, columns: Mapping[str, str], names: Names) -> None:
        self._server = server
        self._where = where
        self._columns = renaming(columns)
        self._names = names
        self._measurements: list[str] = []

    async def find(self) -> None:
        where = self._where
        databases = await self._listed("SHOW DATABASES")
        if databases and where.database not in databases:
            raise UsageError(f"{self._server.url}: no database {where.database!r}{_listed(databases, where.database)}")
        if where.policy is not None:
            policies = await self._listed(f"SHOW RETENTION POLICIES ON {_name(str(where.database))}")
            if where.policy not in policies:
                raise UsageError(
                    f"{self._server.url}: no retention policy {where.policy!r}{_listed(policies, where.policy)}"
                )
        there = await self._listed("SHOW MEASUREMENTS")
        _require(self._server.url, where.measurements, there)
        self._measurements = list(where.measurements or there)

    async def edge(self, first: int, stop: int, *, newest: bool = False) -> int | None:
        order = f"ORDER BY time {'DESC' if newest else 'ASC'} LIMIT 1"
        found = [
            values[0][0]
            async for series in self._series([f"{one} {order}" for one in self._of(first, stop)])
            if (values := series["values"])
        ]
        return (max(found) if newest else min(found)) // 1_000_000 if found else None

    async def points(self, first: int, stop: int) -> AsyncIterator[Said]:
        async for series in self._series([f"{one} GROUP BY *" for one in self._of(first, stop)]):
            tags = {self._columns.get(key, key): text for key, text in (series.get("tags") or {}).items() if text}
            names = [self._columns.get(name, name) for name in series["columns"][1:]]
            for time, *values in series["values"]:
                fields = {name: one for name, one in zip(names, values, strict=False) if one is not None}
                if not fields:
                    continue
                point = {"measurement": series["name"], "tags": tags, "fields": fields, "time": time}
                try:
                    yield observations(point, 1, self._names)
                except Refused as e:
                    yield e

    async def _listed(self, query: str) -> list[str]:
        return [str(values[0]) async for series in self._series([query]) for values in series.get("values", ())]

    async def _series(self, queries: Sequence[str]) -> AsyncIterator[Any]:
        if not queries:
            return
        asked = {"q": "; ".join(queries), "epoch": "ns", "chunked": "true", "chunk_size": str(_CHUNK)}
        if self._where.database is not None:
            asked["db"] = self._where.database
        rest = b""
        async with self._server.asked("POST", "/query", data=asked) as answer:
            async for piece in answer.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    for series in self._read(line):
                        yield series
        for series in self._read(rest):
            yield series

    def _read(self, line: bytes) -> list[Any]:
        if not line.strip():
            return []
        try:
            said = json.loads(line)
        except ValueError:
            raise ArchiveUnavailable(f"{self._server.url}: the answer ended in its middle") from None
        results = said.get("results") or []
        if error := said.get("error") or next((one["error"] for one in results if "error" in one), None):
            raise UsageError(f"{self._server.url}: {error}")
        return [series for one in results for series in one.get("series", ())]

    def _of(self, first: int, stop: int) -> list[str]:
        policy = f"{_name(self._where.policy)}." if self._where.policy else ""
        span = f"time >= {first}000000 AND time < {stop}000000"
        return [f"SELECT * FROM {policy}{_name(one)} WHERE {span}" for one in self._measurements]


def _require(url: str, wanted: Sequence[str], there: Sequence[str]) -> None:
    if lacking := [name for name in wanted if name not in there]:
        raise UsageError(f"{url}: no measurement {lacking[0]!r}{_listed(there, lacking[0])}")


def _listed(names: Iterable[str], like: str | None = None) -> str:
    """What there is, with what is written alike first."""
    found = sorted(names)
    near = get_close_matches(like or "", found)
    found = [*near, *(name for name in found if name not in near)]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"; there are {', '.join(found[:_SHOWN])}{more}" if found else "; there are none that we may read"


def _text(text: str) -> str:
    """As Flux writes it."""
    return json.dumps(text, ensure_ascii=False).replace("${", "\\${")


def _name(text: str) -> str:
    """As InfluxQL writes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(min(ms, END) / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
