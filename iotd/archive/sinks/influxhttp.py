"""Requests to one InfluxDB server: its token, and limits in time and size for every answer."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from iotd.errors import ArchiveRefused, ArchiveUnavailable
from iotd.settings import Settings

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
                raise ArchiveUnavailable(f"{self.url}: {str(e) or 'no answer in time'}") from None
            except RuntimeError as e:
                raise ArchiveUnavailable(f"{self.url}: {e}") from None  # we are being closed
            if answer.status != 401 or not self._token.changed:
                return answer

    @property
    def token_changed(self) -> bool:
        """Whether the token's file is another one than at the last request."""
        return self._token.changed

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _opened(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                # loading the certificates takes longer than the loop may be kept
                trusted = await asyncio.to_thread(_trusted, self._influx.tls_ca_file) if self._https else True
                connector = aiohttp.TCPConnector(limit=0, ssl=trusted)
                self._session = aiohttp.ClientSession(connector=connector)
            return self._session

    @property
    def _https(self) -> bool:
        return self.url.startswith("https:")


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


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)


async def _whole(response: aiohttp.ClientResponse, limit: int) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit:
            raise aiohttp.ClientPayloadError(f"the answer ({response.status}) goes on after {limit} bytes")
        parts.append(part)
    return b"".join(parts)
