"""What clients of InfluxDB's write API do with an answer decides what they are told.

Telegraf drops a batch for good on 400, 406, 422 and most other 4xx; ESP libraries on 300 to 428. So 4xx is only for
what would be refused again as it is (401, 413); whatever can be mended here is held, with 204, or answered with 503.
"""

from __future__ import annotations

from aiohttp import web

HEADERS = {"X-Influxdb-Version": "v2.7.12", "X-Influxdb-Build": "OSS"}
"""As clients look for them at ``/ping``: some go by the version."""

RETRY_AFTER_S = 2
"""What a client is told to wait that can't be taken in now."""


def taken() -> web.Response:
    """It is on disk: taken, or held."""
    return web.Response(status=204, headers=HEADERS)


def wants_token() -> web.Response:
    """The token is not one of ours, or there is none."""
    return _error(401, "unauthorized", "a token is needed: Authorization: Token …, one of those in ingest.tokens_file")


def too_large(message: str) -> web.Response:
    """Clients send it in parts."""
    return _error(413, "request too large", message)


def later(message: str) -> web.Response:
    """It can't be taken now; nothing of it was acknowledged."""
    return _error(503, "unavailable", message, {"Retry-After": str(RETRY_AFTER_S)})


def refused(message: str) -> web.Response:
    """What was asked is no writing at all, so nothing is lost by it."""
    return _error(400, "invalid", message)


def not_here(message: str) -> web.Response:
    """There is no such path, or it is asked for in another way."""
    return _error(404, "not found", message)


def _error(status: int, code: str, message: str, more: dict[str, str] | None = None) -> web.Response:
    headers = {**HEADERS, "X-Influxdb-Error": message.encode("latin-1", "replace").decode("latin-1"), **(more or {})}
    return web.json_response({"code": code, "message": message, "error": message}, status=status, headers=headers)
