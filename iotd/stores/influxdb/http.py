"""Requests to one InfluxDB server: its token, and limits in time and size for every answer."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from iotd.config import Settings
from iotd.model.errors import ArchiveRefused, ArchiveUnavailable
from iotd.model.instants import milliseconds

if TYPE_CHECKING:
    from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync

_CLIENT = "influxdb_client.client.influxdb_client_async"
_LARGEST_WORD = 64 * 1024
"""Bytes of an answer that is a status and a sentence."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body; None when it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def said(self) -> str:
        """Why it refuses, in its own words."""
        found = self.json
        message = found.get("message") or found.get("error") if isinstance(found, dict) else None
        # a proxy in between answers in HTML, which helps nobody
        text = message or ("" if b"<" in self.body else self.body.decode(errors="replace").strip())
        return str(text)[:500] or "no reason given"


class InfluxHttp:
    """A session with the server, made when it is needed; the token is read again whenever its file changes."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.url = url.rstrip("/")
        self._influx = settings.influxdb
        self._token = _Token(settings)
        self._session: aiohttp.ClientSession | None = None
        self._clients: dict[bool, InfluxDBClientAsync] = {}
        self._opening = asyncio.Lock()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int = _LARGEST_WORD,
        timeout: float | None = None,
    ) -> Answer:
        """One request and its answer, whatever the status; asked again after a 401 when the token has changed since.

        Args:
            limit: bytes of the answer's body; a larger one is as bad as none.
            timeout: seconds for all of it; None: ``influxdb.timeout``.

        Raises:
            ArchiveUnavailable: no whole answer within time and size; the server may or may not have done it.
            ArchiveRefused: there is no token.
        """
        limits = aiohttp.ClientTimeout(total=timeout or self._influx.timeout.total_seconds())
        while True:
            token = self._token.read(self.url)
            given = {"Authorization": f"Token {token}", **(headers or {})}
            try:
                session = await self._opened()
                async with session.request(
                    method, f"{self.url}{path}", params=params, data=body, headers=given, timeout=limits
                ) as response:
                    answer = Answer(response.status, response.headers, await _whole(response, limit))
            except (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError) as e:
                raise ArchiveUnavailable(f"{self.url}: {_reason(e)}") from None
            except RuntimeError as e:
                raise ArchiveUnavailable(f"{self.url}: {e}") from None  # we are being closed
            if answer.status != 401 or not self._token.changed:
                return answer

    async def write(self, body: bytes, *, gzipped: bool) -> Answer:
        """One write of line protocol in ms by influxdb-client's asynchronous API, which sends it once and as it is.

        When to try again is not the client's to say, and it never does (influxdb-client-python #492).

        Args:
            gzipped: the body is compressed already: the client would do it on the loop, at gzip's level 9, and hold
                it up for over 100 ms a batch.

        Raises:
            as :meth:`ask`.
        """
        if (
            _CLIENT not in sys.modules
        ):  # half a second of the loop's time otherwise, and only where there is an InfluxDB
            await asyncio.to_thread(importlib.import_module, _CLIENT)
        from influxdb_client.rest import ApiException  # noqa: PLC0415

        while True:
            token = self._token.read(self.url)
            try:
                with self._reaching():
                    client = await self._writing(gzipped)
                    client.api_client.set_default_header("Authorization", f"Token {token}")
                    stored = await client.write_api().write(
                        bucket=self._influx.bucket, org=self._influx.org, record=body, write_precision="ms"
                    )
                answer = Answer(204 if stored else 200, {}, b"")
            except ApiException as e:
                said = e.body or b""
                answer = Answer(int(e.status), e.headers or {}, said if isinstance(said, bytes) else said.encode())
            if answer.status != 401 or not self._token.changed:
                return answer

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError) as e:
            raise ArchiveUnavailable(f"{self.url}: {str(e) or 'no answer in time'}") from None
        except RuntimeError as e:
            raise ArchiveUnavailable(f"{self.url}: {e}") from None  # we are being closed

    @property
    def token_changed(self) -> bool:
        """Whether the token's file is another one than at the last request."""
        return self._token.changed

    async def close(self) -> None:
        """Closes the connections."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _opened(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                connector = aiohttp.TCPConnector(limit=0, ssl=await self._tls())
                self._session = aiohttp.ClientSession(connector=connector)
            return self._session

    async def _writing(self, gzipped: bool) -> InfluxDBClientAsync:
        # a client for each encoding: a header that all writes share must fit each of them
        async with self._opening:
            if gzipped not in self._clients:
                from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync  # noqa: PLC0415

                client = InfluxDBClientAsync(
                    self.url,
                    self._token.read(self.url),
                    self._influx.org,
                    timeout=milliseconds(self._influx.timeout),
                    ssl_context=await self._tls(),
                    connection_pool_maxsize=0,
                    client_session_kwargs={"response_class": _Short},
                )
                if gzipped:
                    client.api_client.set_default_header("Content-Encoding", "gzip")
                self._clients[gzipped] = client
            return self._clients[gzipped]

    async def _tls(self) -> ssl.SSLContext:
        # loading the certificates takes longer than the loop may be kept
        return await asyncio.to_thread(_trusted, self._influx.tls_ca_file)


class _Token:
    """The token, and whether its file has changed since it was read."""

    def __init__(self, settings: Settings) -> None:
        self._influx = settings.influxdb
        self._path = settings.influxdb.token_file or settings.stack_token
        self._seen: tuple[int, int] | None = None

    def read(self, url: str) -> str:
        """The token as it is now.

        Raises:
            ArchiveRefused: there is none.
        """
        if self._influx.token is not None:
            return self._influx.token.get_secret_value()
        try:
            self._seen = self._look()
            return self._path.read_text().strip()
        except OSError as e:
            raise ArchiveRefused(
                f"{url}: no token: {self._path} can't be read ({e.strerror}); set influxdb.token_file or influxdb.token"
            ) from None

    @property
    def changed(self) -> bool:
        if self._influx.token is not None:
            return False
        try:
            return self._look() != self._seen
        except OSError:
            return False

    def _look(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_ino, found.st_mtime_ns


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        return f"can't be reached ({os.strerror(error.os_error.errno)})"
    return str(error) or "no answer in time"


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)


class _Short(aiohttp.ClientResponse):
    """An answer whose body is read only so far: the client reads all of it, and one may never end."""

    async def read(self) -> bytes:
        if self._body is None:
            self._body = await _whole(self, _LARGEST_WORD)
        return self._body


async def _whole(response: aiohttp.ClientResponse, limit: int) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit:
            raise aiohttp.ClientPayloadError(f"the answer ({response.status}) goes on after {limit} bytes")
        parts.append(part)
    return b"".join(parts)
