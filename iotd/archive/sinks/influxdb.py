"""InfluxDB 2, through influxdb-client's asynchronous API."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException

from iotd.archive.points import Points, lines
from iotd.errors import (
    ArchiveError,
    ArchiveRefused,
    ArchiveRejected,
    ArchiveTooLarge,
    ArchiveUnavailable,
)
from iotd.sensors import Sensor
from iotd.settings import Settings

_LONGEST_RETRY_AFTER_S = 600.0


class InfluxSink:
    """One bucket; a client is made when it is needed, and anew with the token read again after a refusal."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._settings = settings
        self._influx = settings.influxdb
        self._url = url
        self.identity = f"influxdb {url} {self._influx.org}/{self._influx.bucket}"
        self._client: InfluxDBClientAsync | None = None

    async def write(self, batch: Sequence[Points]) -> None:
        """See :meth:`iotd.archive.sinks.base.Sink.write`.

        The client sends one request and never a second (influxdb-client-python #492): when to try again is ours to
        say, and what each status means is in :meth:`_error`.
        """
        body = lines(batch)
        stored = await self._call(
            lambda client: client.write_api().write(
                bucket=self._influx.bucket, org=self._influx.org, record=body, write_precision=WritePrecision.MS
            )
        )
        if not stored:
            raise ArchiveUnavailable(
                f"{self._url}: answered a write with neither 204 nor an error; is it an InfluxDB 2?"
            )

    async def counts(self, location: str, first: int, last: int, bucket: int) -> dict[Sensor, dict[int, int]]:
        """See :meth:`iotd.archive.sinks.base.Sink.counts`; counted by the server."""
        flux = f"""
            from(bucket: {_text(self._influx.bucket)})
              |> range(start: {_time(first)}, stop: {_time(last + 1)})
              |> filter(fn: (r) => r._field == "value" and r.location == {_text(location)})
              |> aggregateWindow(every: {bucket}ms, fn: count, createEmpty: false, timeSrc: "_start")
              |> keep(columns: ["_measurement", "sensor_id", "_time", "_value"])"""
        found: dict[Sensor, dict[int, int]] = {}
        for record in await self._query(flux):
            sensor = Sensor(record["_measurement"], location, int(record["sensor_id"]))
            found.setdefault(sensor, {})[_ms(record["_time"]) // bucket * bucket] = int(record["_value"])
        return found

    async def read(self, sensor: Sensor, first: int, last: int) -> list[tuple[int, float]]:
        """See :meth:`iotd.archive.sinks.base.Sink.read`."""
        flux = f"""
            from(bucket: {_text(self._influx.bucket)})
              |> range(start: {_time(first)}, stop: {_time(last + 1)})
              |> filter(fn: (r) => r._measurement == {_text(sensor.type)} and r._field == "value")
              |> filter(fn: (r) => r.location == {_text(sensor.location)} and r.sensor_id == "{sensor.sensor_id}")
              |> keep(columns: ["_time", "_value"])
              |> sort(columns: ["_time"])"""
        return [(_ms(record["_time"]), float(record["_value"])) for record in await self._query(flux)]

    async def close(self) -> None:
        """See :meth:`iotd.archive.sinks.base.Sink.close`."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    # ── asking ──

    async def _query(self, flux: str) -> list[dict[str, Any]]:
        tables = await self._call(lambda client: client.query_api().query(flux, org=self._influx.org))
        return [record.values for table in tables for record in table.records]

    async def _call(self, ask: Callable[[InfluxDBClientAsync], Awaitable[Any]]) -> Any:
        client = self._connected()
        try:
            return await ask(client)
        except ApiException as e:
            error = self._error(e)
            if isinstance(error, ArchiveRefused) and client is self._client:
                await self.close()  # the next one is made with the token as it is then
            raise error from None
        except (aiohttp.ClientError, OSError, TimeoutError) as e:
            raise ArchiveUnavailable(f"{self._url}: {str(e) or 'no answer in time'}") from None
        except RuntimeError as e:
            # another write of ours was refused meanwhile, and has closed the client
            raise ArchiveUnavailable(f"{self._url}: {e}") from None

    def _connected(self) -> InfluxDBClientAsync:
        if self._client is None:
            self._client = InfluxDBClientAsync(
                url=self._url,
                token=self._token(),
                org=self._influx.org,
                timeout=round(self._influx.timeout.total_seconds() * 1000),
                enable_gzip=False,
            )
        return self._client

    def _token(self) -> str:
        if self._influx.token is not None:
            return self._influx.token.get_secret_value()
        path = self._influx.token_file or self._settings.stack_token
        try:
            return path.read_text().strip()
        except OSError as e:
            raise ArchiveRefused(
                f"{self._url}: no token: {path} can't be read ({e.strerror}); set influxdb.token_file or influxdb.token"
            ) from None

    def _error(self, e: ApiException) -> ArchiveError:
        status, said = e.status, _said(e)
        where = f"{self._url} answered {status}"
        if status == 401:
            return ArchiveRefused(f"{where}: {said}; the token is wrong or has expired: check influxdb.token_file")
        if status == 403:
            return ArchiveRefused(f"{where}: {said}; the token may not use the bucket {self._influx.bucket!r}")
        if status == 404:
            place = f"organisation {self._influx.org!r} or bucket {self._influx.bucket!r}"
            return ArchiveRefused(f"{where}: {said}; {place} is missing: make it, or check influxdb.org and .bucket")
        if status == 413:
            return ArchiveTooLarge(f"{where}: {said}")
        if status in (400, 422):
            dropped = re.search(r"dropped=(\d+)", said) if status == 422 else None
            return ArchiveRejected(f"{where}: {said}", int(dropped[1]) if dropped else None)
        return ArchiveUnavailable(f"{where}: {said}", _retry_after(e))


def _said(e: ApiException) -> str:
    try:
        return str(json.loads(e.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(e.reason or "no reason")


def _retry_after(e: ApiException) -> float | None:
    """Seconds, from either form of the header (RFC 9110, 10.2.3)."""
    text = (e.headers or {}).get("Retry-After")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER_S)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("${", "\\${")  # Flux would put a variable's value there


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)
