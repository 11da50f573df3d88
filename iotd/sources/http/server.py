"""The ingest: the InfluxDB write API as a server, readings as JSON, and webhooks; a 204 means that it is on disk."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from iotd.config.sections.sources import Ingest
from iotd.config.values import Address
from iotd.model.errors import ConfigError, IotdError, Refused
from iotd.model.held import Held
from iotd.model.observation import Message, Piece
from iotd.ops.connections import Bounds, Connections
from iotd.ops.loggers import get_logger
from iotd.ops.systemerrors import said
from iotd.sources.base import Intake
from iotd.sources.http import answers
from iotd.sources.http.bodies import BodyBroken, BodySlow, BodyTooLarge, Room, Share, whole
from iotd.sources.http.jsonreadings import objects
from iotd.sources.http.linereader import LineReader, Lines
from iotd.sources.http.lines import PRECISIONS, pieces
from iotd.sources.http.pieces import WEBHOOKS, form_fields, json_pieces, webhook_piece
from iotd.sources.http.tokens import Tokens, token_of

log = get_logger(__name__)

_LARGEST = 8_190
"""Bytes of a request's line, and of a header."""
_BOUNDS = Bounds(places=512, ask_s=10.0, answer_s=None, idle_s=75.0)
"""A body has a time of its own; and what is idle goes first when all places are taken."""
_PIECE = 1 << 18
"""Bytes of line protocol that are read at once: some ms of the event loop."""
_MANY = 500
"""Readings of JSON likewise."""
_WAIT_S = 0.9
"""So long a request waits while the log is full: clients give up after a second (Proxmox)."""
_DISK_S = 10.0
"""So long a request waits for the disk; clients that have less patience have gone by then."""
_SHARE = web.RequestKey("share", Share)
_WRITES = ("/api/v2/write", "/api/v3/write_lp", "/write")
_POSTS = (*_WRITES, "/readings", *(f"/webhook/{name}" for name in WEBHOOKS))
_LONG_NAMES = {"nanosecond": "ns", "microsecond": "us", "millisecond": "ms", "second": "s"}
"""Of precisions, as InfluxDB 3 has them."""
_QUERY = re.compile(r"\s*(SHOW|CREATE)\s+(DATABASES?|RETENTION\s+POLIC(?:Y|IES))\b.*", re.IGNORECASE | re.DOTALL)


class IngestServer:
    """A source: :class:`iotd.sources.base.Source`.

    Attributes:
        url: where; None while it does not.
        failing: why it can't, though it should.
        requests: counted by what they were answered.
    """

    name = "http"

    def __init__(self, settings: Ingest) -> None:
        """
        Raises:
            ConfigError: tokens or certificate can't be used.
        """
        assert settings.listen is not None
        self.url: str | None = None
        self.failing: str | None = None
        self.requests: dict[int, int] = {}
        self._settings = settings
        self._listen = settings.listen
        self._intake: Intake
        self._tokens = None if settings.tokens_file is None else Tokens(settings.tokens_file)
        self._tls = _tls(settings)
        self._lines = LineReader()
        self._room = Room(2 * settings.body_limit)
        self._connections: Connections

    async def run(self, intake: Intake) -> None:
        """Serves until cancelled; requests under way are answered first.

        Raises:
            CannotListen: the address can't be listened on now.
        """
        runner = web.AppRunner(
            self.application(intake),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=2.0,
            max_line_size=_LARGEST,
            max_field_size=_LARGEST,
            keepalive_timeout=2 * _BOUNDS.idle_s,  # ours is shorter
            auto_decompress=False,  # it knows no bound for what comes out of it
        )
        await runner.setup()
        assert runner.server is not None
        connections = self._connections = Connections(runner.server, _BOUNDS)
        server = None
        try:
            server = await self._listen_with(connections)
            await asyncio.Event().wait()
        finally:
            self.url = None
            if server is not None:
                server.close()
            await runner.cleanup()
            connections.close()

    async def _listen_with(self, connections: Connections) -> asyncio.Server:
        host, port = self._listen
        try:
            server = await asyncio.get_running_loop().create_server(
                connections, host, port, ssl=self._tls, reuse_address=True, backlog=512
            )
        except OSError as e:
            self.failing = f"{self._listen}: can't listen there ({said(e)})"
            raise CannotListen(f"{self.failing}; set ingest.listen to an address that is free") from None
        self.failing = None
        address = Address(host, server.sockets[0].getsockname()[1])
        self.url = f"{'https' if self._tls else 'http'}://{address}/"
        log.info("ingest_listening", url=self.url)
        return server

    def application(self, intake: Intake) -> web.Application:
        """The routes; each method that a client tries has an answer."""
        self._intake = intake.patient(_WAIT_S)
        app = web.Application(middlewares=[self._admit], client_max_size=0)
        for path in _WRITES:
            app.router.add_post(path, self._write)
        app.router.add_post("/readings", self._readings)
        app.router.add_route("*", "/webhook/{name}", self._webhook)
        app.router.add_route("*", "/query", self._query)
        app.router.add_route("*", "/ping", self._ping)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._health)
        app.router.add_route("*", "/{nothing:.*}", self._nothing)
        return app

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._connections.asked(request.transport)
        share = request[_SHARE] = Share(self._room)
        try:
            return await self._answer(request, handler)
        finally:
            share.give_back()
            self._connections.answered(request.transport)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        open_to_all = request.path in ("/ping", "/health", "/ready")
        if not open_to_all and self._tokens is not None:
            query = request.query
            token = token_of(request.headers.get("Authorization"), query.get("u"), query.get("p"))
            if (token := token or query.get("token")) is None or self._tokens.owner(token) is None:
                return self._counted(answers.wants_token())
        try:
            response = await handler(request)
        except BodyTooLarge as e:
            response = answers.too_large(str(e))
        except BodySlow:
            # an answer would be a 4xx, for which clients drop what they have
            assert request.transport is not None
            request.transport.abort()
            response = web.Response(status=408)
        except TimeoutError:
            response = answers.later("the disk of the log takes too long")
        except IotdError as e:  # nothing of it was acknowledged
            response = answers.later(str(e))
        return self._counted(response)

    def _counted(self, response: web.StreamResponse) -> web.StreamResponse:
        self.requests[response.status] = self.requests.get(response.status, 0) + 1
        return response

    async def _body(self, request: web.Request) -> bytes:
        settings = self._settings
        return await whole(
            request.content.iter_any(),
            request.headers.get("Content-Encoding", ""),
            limit=settings.body_limit,
            share=request[_SHARE],
            seconds=settings.body_timeout.total_seconds(),
        )

    async def _taken(self, parts: Iterable[Sequence[Message]], key: str | None = None) -> web.Response:
        """Takes one part after the other; the answer is true once all are on disk.

        Raises:
            StateError: there is no room for one of them, or it can't be written now.
            TimeoutError: the disk takes too long.
        """
        written = set[asyncio.Future[Sequence[Held]]]()
        try:
            for part in parts:
                written.add(asyncio.ensure_future(await self._intake.observe(part, key=key)))
                await asyncio.sleep(0)  # others have their turn
            done, late = await asyncio.wait(written, timeout=_DISK_S) if written else (written, set())
        except BaseException:
            _leave(written)
            raise
        _leave(late)
        for one in done:
            one.result()
        if late:
            raise TimeoutError
        return answers.taken()

    # ── writing ──

    async def _write(self, request: web.Request) -> web.Response:
        precision = request.query.get("precision", "ns")
        precision = _LONG_NAMES.get(precision, precision)
        topic = f"{request.path}?precision={precision}"
        try:
            body = await self._body(request)
        except BodyBroken as e:
            return await self._taken([[Piece("lines", topic, b"", (), Refused("not a body", str(e)))]])
        if precision not in PRECISIONS:
            unknown = Refused("unknown precision", f"{precision!r:.40}; there are {', '.join(PRECISIONS)}")
            return await self._taken([[Piece("lines", topic, body, (), unknown)]])
        return await self._taken(self._read(body, topic, precision), request.headers.get("Idempotency-Key"))

    def _read(self, body: bytes, topic: str, precision: str) -> Iterator[list[Lines]]:
        before = 0
        for piece in pieces(body, _PIECE):
            yield [self._lines.read(piece, topic, precision, self._intake.names, before=before)]
            before += piece.count(b"\n")

    async def _readings(self, request: web.Request) -> web.Response:
        try:
            found = objects(await self._body(request))
        except (BodyBroken, Refused) as e:
            return answers.refused(str(e))  # a script sees it, and nothing can be made of it later
        parts = (json_pieces(found[at : at + _MANY], before=at) for at in range(0, len(found), _MANY))
        return await self._taken(parts, request.headers.get("Idempotency-Key"))

    async def _webhook(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in WEBHOOKS:
            return answers.refused(f"no webhook {name!r:.40}; there are {', '.join(WEBHOOKS)}")
        if request.method not in ("GET", "POST"):
            return answers.refused("send it by POST, or by GET with all of it in the URL")
        try:
            body = await self._body(request)
        except BodyBroken as e:
            return await self._taken([[Piece(f"webhook {name}", request.path, b"", (), Refused("not a body", str(e)))]])
        return await self._taken([[webhook_piece(name, request.content_type, dict(request.query), body)]])

    # ── what clients ask before ──

    async def _query(self, request: web.Request) -> web.Response:
        text = request.query.get("q", "")
        if not text and request.method == "POST":
            text = form_fields(await self._body(request)).get("q", "")
        if (asked := _QUERY.fullmatch(text)) is None:
            return answers.refused("this takes readings; ask for them with `iotd query`")
        rows: dict[str, Any] = {"statement_id": 0}
        if asked[1].upper() == "SHOW":
            rows["series"] = [{"name": "databases", "columns": ["name"], "values": [["iotd"]]}]
        return web.json_response({"results": [rows]}, headers=answers.HEADERS)

    async def _ping(self, request: web.Request) -> web.Response:
        if request.query.get("verbose") in ("true", "1"):
            return web.json_response({"version": "2.7.12"}, headers=answers.HEADERS)
        return answers.taken()

    async def _nothing(self, request: web.Request) -> web.Response:
        return answers.not_here(f"no {request.method} {request.path:.80} here; post readings to {', '.join(_POSTS)}")

    async def _health(self, request: web.Request) -> web.Response:
        document = {"name": "influxdb", "message": "ready for writes", "status": "pass", "checks": [], "version": "v2"}
        return web.json_response(document, headers=answers.HEADERS)


class CannotListen(IotdError):
    """The address is taken or not ours; tried again, while the daemon goes on without."""

    retriable = True


def _leave(written: Iterable[asyncio.Future[Sequence[Held]]]) -> None:
    """What is on its way into the log is not called back, and nobody waits for it any more."""
    for one in written:
        one.add_done_callback(lambda it: it.cancelled() or it.exception())


def _tls(settings: Ingest) -> ssl.SSLContext | None:
    if settings.tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except (OSError, ssl.SSLError) as e:
        raise ConfigError(f"ingest.tls_cert_file: {settings.tls_cert_file} and its key can't be used ({e})") from None
    return context
