"""The HTTP server: metrics, health, status and the page. It shows, and changes nothing."""

from __future__ import annotations

import asyncio
from importlib.resources import files

from aiohttp import web
from aiohttp.typedefs import Handler

from iotd.config import Settings
from iotd.config.topology import http_address
from iotd.config.values import is_loopback
from iotd.health.state import Watched
from iotd.model.errors import IotdError
from iotd.ops.connections import Bounds, Connections
from iotd.ops.control import to_json
from iotd.ops.loggers import get_logger
from iotd.ops.systemerrors import said
from iotd.web.metrics import CONTENT_TYPE, Metrics
from iotd.web.status import StatusDocument
from iotd.web.stream import Stream

log = get_logger(__name__)

_BOUNDS = Bounds(places=64, ask_s=5.0, answer_s=10.0)
"""One connection carries one request."""
_LARGEST = 8_190
"""Bytes of a request's line, and of a header."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript") for name in ("below", "chart", "page", "room", "text")},
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class CannotListen(IotdError):
    """The address is taken or not ours; tried again, while the daemon goes on without."""

    retriable = True


class WebServer:
    """Serves one daemon on ``http.host`` and ``http.port``.

    Attributes:
        url: where; None while it does not.
        failing: why it can't, though it should.
    """

    def __init__(self, settings: Settings, daemon: Watched) -> None:
        self.url: str | None = None
        self.failing: str | None = None
        self._enabled = settings.http.enabled
        self._address = http_address(settings)
        self._local = is_loopback(self._address.host)
        self._daemon = daemon
        self._metrics = Metrics(daemon)
        self._status = StatusDocument(daemon)
        self._stream = Stream(daemon)
        page = files("iotd.web").joinpath("page")
        self._files = {path: (page.joinpath(name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}
        self._connections: Connections | None = None

    async def run(self) -> None:
        """Serves until cancelled.

        Raises:
            CannotListen: the address can't be listened on now.
        """
        if not self._enabled:
            return
        app = web.Application(middlewares=[self._admit], client_max_size=0)
        app.router.add_get("/metrics", self._get_metrics)
        app.router.add_get("/livez", self._get_livez)
        app.router.add_get("/readyz", self._get_readyz)
        app.router.add_get("/status", self._get_status)
        app.router.add_get("/events", self._get_events, allow_head=False)
        for path in self._files:
            app.router.add_get(path, self._get_file)
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=0.5,
            max_line_size=_LARGEST,
            max_field_size=_LARGEST,
            lingering_time=0,
            handler_cancellation=True,
        )
        await runner.setup()
        assert runner.server is not None
        connections = self._connections = Connections(runner.server, _BOUNDS)
        try:
            server = await self._listen(connections)
            try:
                await self._stream.run()  # for ever
            finally:
                self.url = None
                server.close()
        finally:
            connections.close()
            await runner.cleanup()

    async def _listen(self, connections: Connections) -> asyncio.Server:
        host, port = self._address
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(connections, host, port, reuse_address=True, backlog=128)
        except OSError as e:
            self.failing = f"{self._address}: can't listen there ({said(e)})"
            raise CannotListen(
                f"{self.failing}; the daemon goes on without metrics and page; set http.port, or http.enabled = false"
            ) from None
        self.failing = None
        self.url = f"http://{self._address}/"
        log.info("http_listening", url=self.url)
        return server

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        assert self._connections is not None
        self._connections.asked(request.transport, stream=request.path == "/events")
        try:
            if self._local and not is_loopback(request.headers.get("Host", "")):
                # a page of elsewhere whose name was made to point here (DNS rebinding)
                raise web.HTTPForbidden(text="only as localhost\n")
            response = await handler(request)
        except web.HTTPException as e:
            e.headers.update(_HEADERS)
            e.force_close()
            raise
        if not response.prepared:
            response.headers.update(_HEADERS)
            response.force_close()
        return response

    # ── answers ──

    async def _get_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _get_livez(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _get_readyz(self, request: web.Request) -> web.Response:
        state = self._daemon.state()
        ready = not state.errors
        text = to_json({"ready": ready, "conditions": state.conditions})
        return web.json_response(text=text, status=200 if ready else 503)

    async def _get_status(self, request: web.Request) -> web.Response:
        return web.json_response(text=await self._status.text())

    async def _get_events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        response.force_close()
        await response.prepare(request)
        await self._stream.send_to(response)
        return response

    async def _get_file(self, request: web.Request) -> web.Response:
        content, kind = self._files[request.path]
        return web.Response(body=content, content_type=kind, charset="utf-8")
