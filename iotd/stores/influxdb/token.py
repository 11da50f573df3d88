"""A new token for InfluxDB: made with user and password, tried, stored, and the old one revoked."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from iotd.config import Settings
from iotd.model.errors import ArchiveError, ArchiveRefused, ArchiveUnavailable, ConfigError
from iotd.ops.files import write_secret


@dataclass(frozen=True, slots=True)
class Rotated:
    """What was done.

    Attributes:
        stored: the file that has the new token.
        revoked: whether the old one is of no use any more.
        note: why it was not revoked.
    """

    stored: Path
    revoked: bool
    note: str | None = None


async def rotate(settings: Settings, url: str, *, keep_old: bool) -> Rotated:
    """Makes a token that may read and write the organisation's buckets, and puts it where the daemon reads it.

    The old one is revoked last, when the new one was seen to work and is in the file: a daemon that meets a 401
    meanwhile reads the file again.

    Raises:
        ConfigError: the token is in the configuration itself, or its file can't be written; nothing was changed.
        ArchiveError: the server does not make one; nothing was changed.
    """
    influx = settings.influxdb
    if influx.token is not None:
        raise ConfigError(
            "influxdb.token is in the configuration or the environment, where iotd can't change it: put the token into "
            "a file and set influxdb.token_file"
        )
    path = influx.token_file or settings.stack_token
    old = path.read_text().strip() if path.exists() else None
    async with _Session(settings, url) as session:
        await session.sign_in()
        org = await session.organisation()
        new = await session.make(org)
        try:
            await session.try_out(new["token"])
            _store(path, new["token"])
        except BaseException:
            await session.delete(new["id"])
            raise
        if keep_old or old is None:
            return Rotated(path, False, "there was none" if old is None else "as you wished")
        found = await session.find(org, old)
        if found is None:
            return Rotated(path, False, "the server does not show it: revoke it yourself")
        await session.delete(found)
        return Rotated(path, True)


def _store(path: Path, token: str) -> None:
    try:
        write_secret(path, token)
    except OSError as e:
        raise ConfigError(f"{path}: the new token can't be stored ({e.strerror}); nothing was changed") from None


class _Session:
    """A session of the user, by cookie: who signs in needs no token."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._influx = settings.influxdb
        self._url = url.rstrip("/")
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> _Session:
        jar = aiohttp.CookieJar(unsafe=True)  # a server is often named by its address
        self._http = aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._http is not None
        try:
            await self._ask("POST", "/api/v2/signout", 204)
        except ArchiveError:
            pass  # the session ends by itself
        finally:
            await self._http.close()

    async def sign_in(self) -> None:
        user, password = self._influx.username, self._influx.password.get_secret_value()
        headers = {"Authorization": aiohttp.encode_basic_auth(user, password)}
        await self._ask("POST", "/api/v2/signin", 204, headers=headers)

    async def organisation(self) -> str:
        found = await self._ask("GET", "/api/v2/orgs", 200, params={"org": self._influx.org})
        return str(found["orgs"][0]["id"])

    async def make(self, org: str) -> dict[str, str]:
        allowed = [("read", "buckets"), ("write", "buckets"), ("read", "orgs")]
        wanted = {
            "orgID": org,
            "description": f"iotd on {socket.gethostname()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "permissions": [
                {"action": action, "resource": {"type": kind} | ({"id": org} if kind == "orgs" else {"orgID": org})}
                for action, kind in allowed
            ],
        }
        made: dict[str, str] = await self._ask("POST", "/api/v2/authorizations", 201, json=wanted)
        return made

    async def try_out(self, token: str) -> None:
        params = {"org": self._influx.org, "bucket": self._influx.bucket}
        headers = {"Authorization": f"Token {token}"}
        async with aiohttp.ClientSession(headers=headers) as fresh:
            await self._ask("POST", "/api/v2/write", 204, 404, session=fresh, params=params, data=b"")

    async def find(self, org: str, token: str) -> str | None:
        found = await self._ask("GET", "/api/v2/authorizations", 200, params={"orgID": org})
        return next((str(a["id"]) for a in found["authorizations"] if a.get("token") == token), None)

    async def delete(self, authorization: str) -> None:
        await self._ask("DELETE", f"/api/v2/authorizations/{authorization}", 204)

    async def _ask(
        self, method: str, path: str, *good: int, session: aiohttp.ClientSession | None = None, **options: Any
    ) -> Any:
        session = session or self._http
        assert session is not None
        try:
            async with session.request(method, self._url + path, **options) as answer:
                said = await answer.text()
                if answer.status in good:
                    return await answer.json() if said and answer.status != 404 else None
        except (aiohttp.ClientError, OSError, TimeoutError) as e:
            raise ArchiveUnavailable(f"{self._url}: {str(e) or 'no answer in time'}") from None
        where = f"{self._url}{path} answered {answer.status}"
        if path.endswith("signin") and answer.status in (401, 403):
            raise ArchiveRefused(
                f"{where}: {self._influx.username!r} can't sign in with this password: set influxdb.username and "
                "influxdb.password"
            )
        if path.endswith("signin"):
            raise ArchiveRefused(
                f"{where}: this server has no sign-in (InfluxDB Cloud has none): make a token there and put it into "
                "influxdb.token_file; the daemon takes it over"
            )
        raise ArchiveRefused(f"{where}: {said[:300]}")
