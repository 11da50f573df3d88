"""InfluxDB 2 as a store: one bucket, written in line protocol and read in Flux."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from iotd.config import Settings
from iotd.config.topology import topology
from iotd.config.values import is_loopback
from iotd.model.aggregate import Aggregation
from iotd.model.buckets import HOUR, Run
from iotd.model.errors import ArchiveUnavailable, ConfigError
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.ops.loggers import get_logger
from iotd.stores.base import Found, Summary
from iotd.stores.influxdb.answers import delete_error, query_error, refusal, write_error
from iotd.stores.influxdb.flux import flux_any, flux_text, flux_time, predicate_text
from iotd.stores.influxdb.http import Answer, InfluxHttp
from iotd.stores.influxdb.lines import lines, tag
from iotd.stores.influxdb.tables import COLUMNS, Table, joined, tables
from iotd.stores.points import Points

log = get_logger(__name__)

_LARGEST_RESULT = 256 * 1024 * 1024
"""Bytes of an answer to a query."""

_FUNCTIONS: dict[Aggregation, str] = {
    "avg": "mean",
    "min": "min",
    "max": "max",
    "sum": "sum",
    "count": "count",
    "first": "first",
    "last": "last",
    "range": "spread",
    "std.p": '(tables=<-, column="_value") => tables |> stddev(column: column, mode: "population")',
}
_SUMMARY = ("count", "sum", "min", "max")


def influx_url(settings: Settings) -> str:
    """Where InfluxDB is: the one of the settings, else the one that the stack runs."""
    return settings.influxdb.url or f"http://{topology(settings).influxdb.address}"


def open_influxdb(settings: Settings, url: str, *, read_only: bool) -> InfluxStore:
    """See :class:`iotd.stores.registry.Open`; the section ``[influxdb]`` says everything.

    Raises:
        ConfigError: the URL says more than its scheme.
    """
    if url.partition(":")[2]:
        raise ConfigError('archive.store: write it as "influxdb:", and where it is in influxdb.url')
    return InfluxStore(settings, influx_url(settings))


class InfluxStore:
    """One bucket; it is made when it is missing and the token may make it. See :class:`iotd.stores.base.Store`."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._influx = settings.influxdb
        self._http = InfluxHttp(settings, url)
        self._gzip = self._influx.gzip == "on" or (self._influx.gzip == "auto" and not is_loopback(url))
        self.identity = f"influxdb {url} {self._influx.org}/{self._influx.bucket}"

    # ── writing ──

    async def write(self, batch: Sequence[Points]) -> None:
        """See :meth:`iotd.stores.base.Store.write`."""
        answer = await self._post(lines(batch))
        if answer.status == 415 and self._gzip:
            log.warning("gzip_refused", store=self.identity, said=answer.said, effect="sent as it is from now on")
            self._gzip = False
            answer = await self._post(lines(batch))
        if answer.status == 404 and "bucket" in answer.said:
            await self._make_bucket(answer)
        if answer.status != 204:
            raise write_error(answer, self._http.url, self._influx)

    async def delete(self, series: Series, first: int, last: int) -> None:
        """See :meth:`iotd.stores.base.Store.delete`.

        The server takes only equalities joined by AND, no field, and both ends of the range (seen on 2.7). A series
        whose unit has changed has several there; the unit is not asked for, so that all of them are met.
        """
        tags = {"_measurement": series.type, "location": series.location, "sensor_id": series.sensor_id}
        asked = {
            "start": flux_time(first),
            "stop": flux_time(last),
            "predicate": " AND ".join(
                f"{predicate_text(name)}={predicate_text(tag(its))}" for name, its in tags.items()
            ),
        }
        answer = await self._http.ask(
            "POST",
            "/api/v2/delete",
            params={"org": self._influx.org, "bucket": self._influx.bucket},
            body=json.dumps(asked).encode(),
            headers={"Content-Type": "application/json"},
            timeout=self._influx.query_timeout.total_seconds(),
        )
        if answer.status == 404 and "bucket" in answer.said:
            await self._make_bucket(answer)
        if answer.status != 204:
            raise delete_error(answer, self._http.url, self._influx)

    async def _post(self, body: bytes) -> Answer:
        if self._gzip and body:
            # 12 times smaller at level 1: 1.3 times as fast over 100 Mbit/s, no slower over 1 Gbit/s, and a tenth more
            # CPU on loopback; in a thread, because it takes milliseconds and lets go of the interpreter
            return await self._http.write(await asyncio.to_thread(gzip.compress, body, 1), gzipped=True)
        return await self._http.write(body, gzipped=False)

    async def _make_bucket(self, missing: Answer) -> None:
        influx, url = self._influx, self._http.url
        found = await self._http.ask("GET", "/api/v2/orgs", params={"org": influx.org})
        try:
            org = found.json["orgs"][0]["id"]
        except (TypeError, KeyError, IndexError):
            raise refusal(missing, url, influx) from None  # the token may not look, so it may not make one either
        keep = round(influx.bucket_retention.total_seconds()) if influx.bucket_retention else 0
        rules = [{"type": "expire", "everySeconds": keep}]
        wanted = {"orgID": org, "name": influx.bucket, "retentionRules": rules}
        made = await self._http.ask(
            "POST", "/api/v2/buckets", body=json.dumps(wanted).encode(), headers={"Content-Type": "application/json"}
        )
        if made.status == 422 and "already exists" in made.said:
            raise ArchiveUnavailable(f"{url}: the bucket {influx.bucket!r} is being made")
        if made.status != 201:
            raise refusal(missing, url, influx)
        log.info("bucket_made", store=self.identity, keeps=str(influx.bucket_retention or "for ever"))
        raise ArchiveUnavailable(f"{url}: the bucket {influx.bucket!r} was missing and has been made")

    # ── reading ──

    async def counts(self, location: str, first: int, last: int, bucket: int) -> dict[Series, dict[int, int]]:
        """See :meth:`iotd.stores.base.Store.counts`; counted by the server."""
        found: dict[Series, dict[int, int]] = {}
        for table in await self._tables(f"{self._of(location, first, last)} {_windows(bucket, 'count')}"):
            starts = found.setdefault(table.series, {})
            for start, count in zip(_starts(table, bucket), table.values.tolist(), strict=True):
                starts[start] = starts.get(start, 0) + int(count)
        return found

    async def summaries(
        self, location: str, first: int, last: int, *, squares: bool = True
    ) -> dict[Series, list[Summary]]:
        """See :meth:`iotd.stores.base.Store.summaries`; made by the server, in one query."""
        # the chain anew for each function: the storage engine computes it then, which it does not for a shared one
        data = self._of(location, first, last)
        # a sum of squares is vectorised like this: 7 days of nine sensors at 1 Hz take 0.7 s; the other four take 0.3
        # together, stddev() 17, map() |> window() |> sum() 18, reduce() 65, InfluxQL's stddev() 3.5
        chains = {fn: f"{data} {_windows(HOUR, fn)}" for fn in _SUMMARY}
        if squares:
            square = "map(fn: (r) => ({r with _value: r._value * r._value}))"
            chains["squares"] = f"{data} |> {square} {_windows(HOUR, 'sum')}"
        flux = [f'{chain} |> keep(columns: {COLUMNS}) |> yield(name: "{name}")' for name, chain in chains.items()]
        parts: dict[Series, dict[int, dict[str, list[float]]]] = {}
        for table in await self._ask("\n".join(flux)):
            hours = parts.setdefault(table.series, {})
            for hour, value in zip(_starts(table, HOUR), table.values.tolist(), strict=True):
                hours.setdefault(hour, {}).setdefault(table.result, []).append(value)
        return {
            # an hour that was being written may be in some of them only; it is there the next time
            series: [_summary(*hour) for hour in sorted(hours.items()) if len(hour[1]) == len(chains)]
            for series, hours in parts.items()
        }

    async def begins(self, what: Selection, first: int, last: int) -> dict[Series, int]:
        """See :meth:`iotd.stores.base.Store.begins`."""
        found = joined(await self._tables(f"{self._from(what, first, last)} |> first()"))
        return {series: int(times[0]) for series, (times, _) in found.items()}

    async def samples(self, what: Selection, first: int, last: int) -> Found:
        """See :meth:`iotd.stores.base.Store.samples`."""
        found = await self._tables(self._from(what, first, last))
        return await asyncio.to_thread(joined, found)

    async def buckets(self, what: Selection, aggregation: Aggregation, run: Run, first: int, last: int) -> Found:
        """See :meth:`iotd.stores.base.Store.buckets`."""
        data, windows = self._from(what, first, last), _windows(run.width, _FUNCTIONS[aggregation], run.first)
        found = await self._tables(f"{data} {windows}")
        series_of = {table.series: table.series for table in found}
        if len(series_of) < len(found):
            # a unit has changed: its buckets are made of both tables then, which the storage engine can't do
            together = '|> group(columns: ["_measurement", "location", "sensor_id"]) |> sort(columns: ["_time"])'
            found = await self._tables(f"{data} {together} {windows}")
        # a window that begins before the range is said to begin with it
        return {series_of[s]: (run.start_of(times), values) for s, (times, values) in joined(found).items()}

    async def query(self, flux: str) -> bytes:
        """The answer to a Flux query: CSV, a header before each block of tables, no annotations.

        Raises:
            ArchiveUnavailable, ArchiveRefused: not now.
            ArchiveUnverifiable: the server answers no Flux, or the token may not read.
        """
        answer = await self._http.ask(
            "POST",
            "/api/v2/query",
            params={"org": self._influx.org},
            body=flux.encode(),
            headers={"Content-Type": "application/vnd.flux", "Accept": "application/csv"},
            limit=_LARGEST_RESULT,
            timeout=self._influx.query_timeout.total_seconds(),
        )
        if answer.status != 200:
            raise query_error(answer, self._http.url, self._influx)
        return answer.body

    async def _tables(self, flux: str) -> list[Table]:
        return await self._ask(f"{flux} |> keep(columns: {COLUMNS})")

    async def _ask(self, flux: str) -> list[Table]:
        body = await self.query(flux)
        return await asyncio.to_thread(tables, body)  # of many MB it takes seconds

    def _of(self, location: str, first: int, last: int) -> str:
        return self._where([flux_any("location", [tag(location)])], first, last)

    def _from(self, what: Selection, first: int, last: int) -> str:
        tests = [flux_any("_measurement", map(tag, what.types)), flux_any("location", map(tag, what.locations))]
        if what.ids is not None:
            tests.append(flux_any("sensor_id", map(tag, what.ids)))
        return self._where(tests, first, last)

    def _where(self, tests: Iterable[str], first: int, last: int) -> str:
        return (
            f"from(bucket: {flux_text(self._influx.bucket)}) |> range(start: {flux_time(first)}, stop: "
            f'{flux_time(last + 1)}) |> filter(fn: (r) => r._field == "value" and {" and ".join(tests)})'
        )

    # ── who it is ──

    async def incarnation(self) -> str | None:
        """See :meth:`iotd.stores.base.Store.incarnation`: the bucket's id, where the token may ask for it."""
        return (await self._bucket()).get("id")

    async def keeps(self) -> int | None:
        """See :meth:`iotd.stores.base.Store.keeps`: what the bucket says, else the settings."""
        wanted = self._influx.bucket_retention
        rules = (await self._bucket()).get(
            "retentionRules", [{"everySeconds": wanted.total_seconds() if wanted else 0}]
        )
        seconds = min((rule["everySeconds"] for rule in rules if rule.get("everySeconds")), default=None)
        return None if seconds is None else round(seconds * 1000)

    async def _bucket(self) -> dict[str, Any]:
        """What the server says of the bucket; nothing where the token may not ask."""
        answer = await self._http.ask(
            "GET", "/api/v2/buckets", params={"org": self._influx.org, "name": self._influx.bucket}
        )
        try:
            found: dict[str, Any] = answer.json["buckets"][0]
        except (TypeError, KeyError, IndexError):
            return {}
        return found

    async def started(self) -> str | None:
        """See :meth:`iotd.stores.base.Store.started`: since when the server runs, by ``/ready``."""
        answer = await self._http.ask("GET", "/ready")
        if answer.status >= 500:
            raise ArchiveUnavailable(f"{self._http.url} answered {answer.status}: {answer.said}")
        said = answer.json
        return said.get("started") if answer.status == 200 and isinstance(said, dict) else None

    def mended(self) -> bool:
        """See :meth:`iotd.stores.base.Store.mended`: whether the token's file has changed."""
        return self._http.token_changed

    async def close(self) -> None:
        """See :meth:`iotd.stores.base.Store.close`."""
        await self._http.close()


def _windows(width: int, function: str, offset: int = 0) -> str:
    return (
        f"|> aggregateWindow(every: {width}ms, offset: {offset % width}ms, fn: {function}, createEmpty: false, "
        'timeSrc: "_start")'
    )


def _starts(table: Table, width: int) -> list[int]:
    # a window that begins before the range is said to begin with it
    starts: list[int] = (table.times // width * width).tolist()
    return starts


def _summary(hour: int, parts: dict[str, list[float]]) -> Summary:
    # several of each where the unit of a series has changed
    return Summary(
        hour,
        int(sum(parts["count"])),
        sum(parts["sum"]),
        min(parts["min"]),
        max(parts["max"]),
        sum(parts.get("squares", [math.nan])),
    )
