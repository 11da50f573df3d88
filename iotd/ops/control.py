"""The control socket: how the command line asks the running daemon, over HTTP on a Unix socket in the state directory.

Whoever may open the socket (0600) may ask; there is no other way in.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from iotd.model.errors import IotdError, StateError
from iotd.ops.loggers import get_logger
from iotd.ops.systemerrors import NO_MEMORY, said

log = get_logger(__name__)

Handler = Callable[[Mapping[str, str]], Awaitable[Any]]
"""Takes the query's parameters, returns what becomes JSON (dataclasses may)."""

_SOCKET = "control.sock"
_LOOK_S = 5.0
"""How long an answer to GET may take; what POST asks for takes as long as it takes."""


_asking: ContextVar[int | None] = ContextVar("asking", default=None)


def asking_user() -> int | None:
    """The user id of whoever asks, within a handler; None where the system does not say it."""
    return _asking.get()


class NoDaemon(StateError):
    """No daemon runs on this state directory."""

    exit_code = 69


class SilentDaemon(StateError):
    """A daemon runs on this state directory, and does not answer."""

    exit_code = 69


def to_json(value: Any) -> str:
    """JSON of plain values and dataclasses, paths and addresses as text."""

    def plain(thing: Any) -> Any:
        if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
            return dataclasses.asdict(thing)
        return str(thing)

    return json.dumps(value, default=plain, ensure_ascii=False)


class ControlServer:
    """Serves handlers by (method, path) until closed."""

    def __init__(self, state: Path, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self._path = state / _SOCKET
        app = web.Application()
        for (method, path), handler in handlers.items():
            app.router.add_route(method, path, _route(handler))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def __aenter__(self) -> ControlServer:
        await self._runner.setup()
        with suppress(FileNotFoundError):
            self._path.unlink()  # of a daemon that was killed: the state directory's lock says that it is gone
        try:
            await web.UnixSite(self._runner, str(self._path)).start()
            self._path.chmod(0o600)
        except OSError as e:
            raise StateError(f"{self._path}: can't listen there ({said(e)}); set a shorter state_dir") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        with suppress(FileNotFoundError):
            self._path.unlink()


def _route(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        _asking.set(_user(request))
        try:
            return web.json_response(text=to_json(await handler(request.query)))
        except IotdError as e:
            return web.json_response({"error": str(e), "exit_code": e.exit_code}, status=503)
        except MemoryError:
            log.error("request_failed", path=request.path, reason=NO_MEMORY)
            return web.json_response({"error": NO_MEMORY, "exit_code": IotdError.exit_code}, status=503)
        except Exception as e:
            log.error("request_failed", path=request.path, exc_info=e)
            return web.json_response({"error": f"the daemon failed: {e!r}; its log has more"}, status=500)

    return answer


def _user(request: web.Request) -> int | None:
    peer: Any = request.transport and request.transport.get_extra_info("socket")
    option = getattr(socket, "SO_PEERCRED", None)  # Linux
    if peer is None or option is None:
        return None
    form = struct.Struct("3i")  # process, user, group
    return int(form.unpack(peer.getsockopt(socket.SOL_SOCKET, option, form.size))[1])


async def request(state: Path, method: str, path: str, params: Mapping[str, str] | None = None) -> Any:
    """Asks the daemon that runs on a state directory.

    Raises:
        NoDaemon: none runs there.
        SilentDaemon: it does not answer.
        IotdError: the daemon's own error.
    """
    timeout = aiohttp.ClientTimeout(total=_LOOK_S if method == "GET" else None, sock_connect=_LOOK_S)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(state / _SOCKET)), timeout=timeout) as session,
            session.request(method, f"http://iotd{path}", params=params) as response,
        ):
            body = await response.json()
            if response.status != 200:
                raise _DaemonError(body["error"], int(body.get("exit_code", 70)))
            return body
    except TimeoutError:
        raise SilentDaemon(
            f"the daemon on {state} does not answer within {_LOOK_S:g} s: it hangs, or the machine is overloaded; "
            "`iotd down` ends it, and what is not durable stays in the log"
        ) from None
    except (aiohttp.ClientError, OSError):
        raise NoDaemon(f"no iotd daemon runs on {state}; start it with `iotd up` or `iotd run`") from None


class _DaemonError(IotdError):
    """An error that the daemon answered with; it keeps its exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # here it is the daemon's, not the class's
