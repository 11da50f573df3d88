"""InfluxDB 2, and whatever else takes line protocol at ``/api/v2/write``."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import ipaddress
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from urllib.parse import urlsplit

import structlog

from iotd.archive.points import Points, lines
from iotd.archive.sinks.flux import flux_text, flux_time
from iotd.archive.sinks.influxanswers import query_error, refusal, write_error
from iotd.archive.sinks.influxhttp import Answer, InfluxHttp
from iotd.config import Settings
from iotd.model.errors import ArchiveUnavailable
from iotd.model.series import Series

log = structlog.get_logger(__name__)

_LARGEST_RESULT = 256 * 1024 * 1024
"""Bytes of an answer to a query."""


class InfluxSink:
    """One bucket; it is made when it is missing and the token may make it."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._influx = settings.influxdb
        self._http = InfluxHttp(settings, url)
        self._gzip = self._influx.gzip == "on" or (self._influx.gzip == "auto" and not _loopback(url))
        self.identity = f"influxdb {url} {self._influx.org}/{self._influx.bucket}"

    async def write(self, batch: Sequence[Points]) -> None:
        """See :meth:`iotd.archive.sinks.base.Sink.write`."""
        answer = await self._post(lines(batch))
        if answer.status == 415 and self._gzip:
            log.warning("gzip_refused", sink=self.identity, said=answer.said, effect="sent as it is from now on")
            self._gzip = False
            answer = await self._post(lines(batch))
        if answer.status == 404 and "bucket" in answer.said:
            await self._make_bucket(answer)
        if answer.status != 204:
            raise write_error(answer, self._http.url, self._influx)

    async def counts(self, location: str, first: int, last: int, bucket: int) -> dict[Series, dict[int, int]]:
        """See :meth:`iotd.archive.sinks.base.Sink.counts`; counted by the server."""
        flux = f"""
            from(bucket: {flux_text(self._influx.bucket)})
              |> range(start: {flux_time(first)}, stop: {flux_time(last + 1)})
              |> filter(fn: (r) => r._field == "value" and r.location == {flux_text(location)})
              |> aggregateWindow(every: {bucket}ms, fn: count, createEmpty: false, timeSrc: "_start")
              |> keep(columns: ["_measurement", "sensor_id", "_time", "_value"])"""
        found: dict[Series, dict[int, int]] = {}
        for kind, sensor_id, time, count in await self._columns(flux, "_measurement", "sensor_id", "_time", "_value"):
            if sensor_id:
                starts = found.setdefault(Series(kind, location, sensor_id), {})
                start = _ms(time) // bucket * bucket
                starts[start] = starts.get(start, 0) + int(count)
        return found

    async def read(self, sensor: Series, first: int, last: int) -> list[tuple[int, float]]:
        """See :meth:`iotd.archive.sinks.base.Sink.read`."""
        flux = f"""
            from(bucket: {flux_text(self._influx.bucket)})
              |> range(start: {flux_time(first)}, stop: {flux_time(last + 1)})
              |> filter(fn: (r) => r._measurement == {flux_text(sensor.type)} and r._field == "value")
              |> filter(fn: (r) => r.location == {flux_text(sensor.location)})
              |> filter(fn: (r) => r.sensor_id == {flux_text(sensor.sensor_id)})
              |> keep(columns: ["_time", "_value"])
              |> sort(columns: ["_time"])"""
        return [(_ms(time), float(value)) for time, value in await self._columns(flux, "_time", "_value")]

    async def query_csv(self, flux: str) -> str:
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
        return answer.body.decode()

    async def incarnation(self) -> str | None:
        """See :meth:`iotd.archive.sinks.base.Sink.incarnation`: the bucket's id, where the token may ask for it."""
        answer = await self._http.ask(
            "GET", "/api/v2/buckets", params={"org": self._influx.org, "name": self._influx.bucket}
        )
        try:
            return str(answer.json["buckets"][0]["id"])
        except (TypeError, KeyError, IndexError):
            return None

    def mended(self) -> bool:
        """See :meth:`iotd.archive.sinks.base.Sink.mended`: whether the token's file has changed."""
        return self._http.token_changed

    async def close(self) -> None:
        """See :meth:`iotd.archive.sinks.base.Sink.close`."""
        await self._http.close()

    async def _columns(self, flux: str, *names: str) -> list[list[str]]:
        text = await self.query_csv(flux)
        try:
            return [[row[name] for name in names] for row in _rows(text)]
        except KeyError as e:
            raise ArchiveUnavailable(f"{self._http.url}: the answer to a query has no column {e}") from None

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
        log.info("bucket_made", sink=self.identity, keeps=str(influx.bucket_retention or "for ever"))
        raise ArchiveUnavailable(f"{url}: the bucket {influx.bucket!r} was missing and has been made")


def _rows(text: str) -> Iterator[dict[str, str]]:
    names: list[str] | None = None
    for row in csv.reader(io.StringIO(text)):
        if not row:
            names = None  # an empty line ends a block of tables; the next one has a header of its own
        elif names is None:
            names = row
        elif "error" in names:  # what went wrong after the answer had begun
            raise ArchiveUnavailable(f"the query broke off: {row[names.index('error')]}")
        else:
            yield dict(zip(names, row, strict=False))


def _loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)
