"""The connection to a live InfluxDB: what is asked by HTTP, and its refusals in one line each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from iotd.model.errors import ArchiveRefused, ArchiveUnavailable, IotdError, UsageError
from iotd.ops.systemerrors import said as words


@dataclass(frozen=True, slots=True)
class Where:
    """What is read of a server.

    Attributes:
        bucket, org: of Flux; ``database``, ``policy``: of InfluxQL; either bucket or database is there.
        measurements: only these; empty: all.
        token: of either; ``user`` and ``password``: of InfluxQL.
    """

    url: str
    bucket: str | None = None
    org: str | None = None
    database: str | None = None
    policy: str | None = None
    measurements: tuple[str, ...] = ()
    token: str | None = None
    user: str | None = None
    password: str | None = None


class Server:
    """One server, by its URL."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.url = url
        self._session = session

    async def version(self) -> str:
        """As it says it, without a v.

        Raises:
            UsageError: it is no InfluxDB.
            ArchiveUnavailable: there is no answer.
        """
        async with self.asked("GET", "/ping") as answer:
            if (found := answer.headers.get("X-Influxdb-Version")) is None:
                raise UsageError(f"{self.url}: what answers there is no InfluxDB")
            return found.removeprefix("v")

    @asynccontextmanager
    async def asked(self, method: str, path: str, **how: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a request, while the context lasts.

        Raises:
            UsageError: the request is wrong, or asks for what there is not.
            ArchiveRefused: we may not ask.
            ArchiveUnavailable: there is no answer, or it ended in its middle.
        """
        try:
            async with self._session.request(method, self.url + path, **how) as answer:
                if answer.status >= 400:
                    raise self._refusal(answer.status, await answer.text(errors="replace"))
                yield answer
        except aiohttp.InvalidURL:
            raise UsageError(f"{self.url}: no URL of a server; write it like http://host:8086") from None
        except aiohttp.ClientPayloadError:
            raise ArchiveUnavailable(f"{self.url}: the answer ended in its middle") from None
        except TimeoutError:
            raise ArchiveUnavailable(f"{self.url}: no answer in time") from None
        except (aiohttp.ClientError, OSError) as e:
            why = words(e) if isinstance(e, OSError) else str(e) or type(e).__name__
            raise ArchiveUnavailable(f"{self.url}: no answer ({why})") from None

    async def json(self, method: str, path: str, **how: Any) -> Any:
        """A whole answer that is JSON; raises as :meth:`asked`."""
        async with self.asked(method, path, **how) as answer:
            try:
                return json.loads(await answer.read())
            except ValueError:
                raise ArchiveUnavailable(f"{self.url}: the answer ended in its middle") from None

    def _refusal(self, status: int, text: str) -> IotdError:
        try:
            said = json.loads(text)
            why = str(said.get("message") or said.get("error"))
        except (ValueError, AttributeError):
            why = text.strip().partition("\n")[0]
        what = f"{self.url}: {why[:300] or f'status {status}'}"
        if status in (401, 403):
            return ArchiveRefused(f"{what}; give --token-file, or --user and --password-file, of one who may read it")
        if status == 429 or status >= 500:
            return ArchiveUnavailable(what)
        return UsageError(what)
