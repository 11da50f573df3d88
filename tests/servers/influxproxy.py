"""A proxy between iotd and a real InfluxDB that fails as told, one request at a time, at any byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

WRITE = "/api/v2/write"
QUERY = "/api/v2/query"

_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "content-encoding", "host", "keep-alive"}
_CHUNK = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """The proxy answers itself; the server never sees the request."""

    status: int
    message: str = "as the test wants it"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CutRequest:
    """The connection is reset when so many bytes of the request have come; the server never sees it."""

    after: int


@dataclass(frozen=True)
class CutAnswer:
    """The server answers, the connection is reset when so many bytes of that have been passed on.

    With 0 the server has stored what it was sent, and nobody is told: a lost 204.
    """

    after: int = 0


@dataclass(frozen=True)
class Mute:
    """The request is taken and never answered."""


@dataclass(frozen=True)
class Endless:
    """An answer that begins well and never ends: ``chunk`` bytes of body again and again.

    Args:
        pause: seconds between two chunks; 0 sends as fast as they are taken.
    """

    chunk: int = 1024
    pause: float = 0.05


Fault = Answer | CutRequest | CutAnswer | Mute | Endless


@dataclass
class _Order:
    fault: Fault
    path: str
    left: int | None
    holding: bytes
    over: int


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class InfluxProxy:
    """Listens on a port of its own; everything is passed on, except where a fault was asked for.

    Attributes:
        url: where iotd is to find "InfluxDB".
        rate: bytes per second that a request may come at, all connections together; None: as fast as they come.
        passed: requests that the server has answered, by path.
        failed: requests that met a fault, by its name (``Answer 503``).
        watch: called with each request that came whole, before anything is done with it.
        told: called with each request whose answer the client was sent whole, and that answer's status.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.url = ""
        self.rate: float | None = None
        self.passed: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.watch: Callable[[Request], None] = lambda request: None
        self.told: Callable[[Request, int], None] = lambda request, status: None
        self._orders: list[_Order] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._busy = asyncio.Lock()

    def inject(
        self, fault: Fault, *, times: int | None = None, path: str = "", holding: bytes = b"", over: int = 0
    ) -> None:
        """From now on requests meet a fault: the oldest order that fits one is carried out.

        Args:
            times: so many requests; None: until :meth:`heal`.
            path: only requests whose path begins so (:data:`WRITE`, :data:`QUERY`).
            holding: only requests whose body holds this; not for :class:`CutRequest`, which never sees a body.
            over: only requests whose body is larger, bytes; likewise.
        """
        self._orders.append(_Order(fault, path, times, holding, over))

    def heal(self) -> None:
        """Forgets all faults, and ends the connections that one keeps hanging."""
        self._orders.clear()
        for task in self._tasks:
            if task.get_name() == "hanging":
                task.cancel()

    @property
    def faults_left(self) -> int:
        """Orders that are not carried out yet."""
        return len(self._orders)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._one(_Incoming(reader, self._throttle), writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the test ends
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(Exception):
                writer.transport.abort()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    # ── one request ──

    async def _one(self, incoming: _Incoming, writer: asyncio.StreamWriter) -> bool:
        head = await incoming.head()
        method, target, *_ = head.split(b"\r\n", 1)[0].decode().split(" ")
        cut = self._due(target.partition("?")[0])
        if isinstance(cut, CutRequest):
            await incoming.upto(cut.after)
            return False
        headers = _headers(head)
        request = Request(method, target, headers, await incoming.body(headers))
        self.watch(request)
        fault = cut or self._due(request.path, request.body)
        if isinstance(fault, Mute | Endless):
            await self._hang(fault, writer)
        if isinstance(fault, Answer):
            body = b'{"code": "injected", "message": "%b"}' % fault.message.encode()
            writer.write(_response(fault.status, {"Content-Type": "application/json", **fault.headers}, body))
            await writer.drain()
            return True
        answer = await self._pass_on(request)
        if answer is None:
            return False
        self.passed[request.path] += 1
        if isinstance(fault, CutAnswer):
            writer.write(answer[: fault.after])
            await writer.drain()
            await _sent(writer)
            return False
        writer.write(answer)
        self.told(request, int(answer[9:12]))
        await writer.drain()
        return True

    def _due(self, path: str, body: bytes | None = None) -> Fault | None:
        # asked twice for a request: for what is due whatever its body is, and for what depends on that
        for order in self._orders:
            if bool(order.holding or order.over) == (body is not None) and path.startswith(order.path):
                if body is not None and (order.holding not in body or len(body) <= order.over):
                    continue
                if order.left is not None:
                    order.left -= 1
                    if order.left == 0:
                        self._orders.remove(order)
                fault = order.fault
                self.failed[f"Answer {fault.status}" if isinstance(fault, Answer) else type(fault).__name__] += 1
                return fault
        return None

    async def _hang(self, fault: Mute | Endless, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("hanging")
        if isinstance(fault, Mute):
            await asyncio.Event().wait()
            return
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n")
        while isinstance(fault, Endless):
            writer.write(b"%x\r\n%b\r\n" % (fault.chunk, b"." * fault.chunk))
            await writer.drain()
            await asyncio.sleep(fault.pause)

    async def _pass_on(self, request: Request) -> bytes | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        headers = {n: v for n, v in request.headers.items() if n not in _HOP_BY_HOP or n == "content-encoding"}
        try:
            async with self._session.request(
                request.method, f"{self.upstream}{request.target}", data=request.body, headers=headers
            ) as answer:
                kept = {n: v for n, v in answer.headers.items() if n.lower() not in _HOP_BY_HOP}
                if "Content-Encoding" in answer.headers:
                    kept["Content-Encoding"] = answer.headers["Content-Encoding"]
                return _response(answer.status, kept, await answer.read())
        except (aiohttp.ClientError, OSError):
            return None  # the server is down: the client sees its connection reset

    async def _throttle(self, size: int) -> None:
        if (rate := self.rate) is not None:
            async with self._busy:  # one after the other, as on one wire
                await asyncio.sleep(size / rate)


class _Incoming:
    """A request as it comes, with its bytes counted."""

    def __init__(self, reader: asyncio.StreamReader, came: Callable[[int], Awaitable[None]]) -> None:
        self._reader = reader
        self._came = came
        self._count = 0

    async def head(self) -> bytes:
        head = await self._reader.readuntil(b"\r\n\r\n")
        self._count = len(head)
        return head

    async def body(self, headers: dict[str, str]) -> bytes:
        if "transfer-encoding" in headers:
            raise NotImplementedError("a request in chunks: iotd sends none")
        wanted = int(headers.get("content-length", 0))
        parts = []
        while wanted:
            part = await self._reader.readexactly(min(wanted, _CHUNK))
            await self._came(len(part))
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    async def upto(self, count: int) -> None:
        """Reads on until so many bytes of the request have come; it may be shorter than that."""
        while self._count < count:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    part = await self._reader.read(min(_CHUNK, count - self._count))
                if part:
                    self._count += len(part)
                    continue
            return


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def _response(status: int, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} {'OK' if status < 300 else 'Error'}", *(f"{n}: {v}" for n, v in headers.items())]
    if status != 204:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def _sent(writer: asyncio.StreamWriter) -> None:
    while writer.transport.get_write_buffer_size():
        await asyncio.sleep(0)


@asynccontextmanager
async def running_proxy(upstream: str, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[InfluxProxy]:
    """A proxy in front of a server's URL, gone at the end; the server may come and go meanwhile.

    Args:
        port: 0: any that is free.
    """
    proxy = InfluxProxy(upstream)
    server = await asyncio.start_server(proxy.serve, host, port)
    proxy.url = f"http://{host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
