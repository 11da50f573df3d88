"""The Docker engine: whether one answers, its images, and its errors as ours."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iotd.model.errors import StackError

if TYPE_CHECKING:
    from docker import DockerClient

_SYSTEM_SOCKET = Path("/var/run/docker.sock")
_PROBE_S = 2
_TIMEOUT_S = 120
"""For one request: on a slow disk it takes the engine that long to make a container."""


class NoImage(StackError):
    """An image is not here and can't be pulled."""


def address() -> str | None:
    """Where an engine may be: ``$DOCKER_HOST``, else the first of the usual sockets that exists, else None."""
    if named := os.environ.get("DOCKER_HOST"):
        return named
    if sys.platform == "win32":
        pipe = r"\\.\pipe\docker_engine"
        return "npipe:////./pipe/docker_engine" if os.path.exists(pipe) else None
    sockets = [_SYSTEM_SOCKET, Path.home() / ".docker/run/docker.sock"]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        sockets.append(Path(runtime, "docker.sock"))
    return next((f"unix://{path}" for path in sockets if path.is_socket()), None)


def answers() -> bool:
    """Whether an engine answers; where there is no socket, that is known at once and without the SDK."""
    if address() is None:
        return False
    try:
        connect(_PROBE_S).close()
    except StackError:
        return False
    return True


def is_local() -> bool:
    """Whether what the engine publishes on loopback is on this machine's."""
    return (address() or "").startswith(("unix://", "npipe://"))


def connect(timeout: float = _TIMEOUT_S) -> DockerClient:
    """A client of the engine that answers.

    Raises:
        StackError: none answers; says where it was looked for.
    """
    import docker  # noqa: PLC0415  # a tenth of a second, only where there is an engine

    where = address()
    if where is None:
        raise StackError(
            "no Docker engine: no socket was found, and DOCKER_HOST is not set; start one, "
            "or set stack.backend to process"
        )
    if where.startswith("unix://"):
        _require_listener(where)  # the SDK is slower to find that out, and leaves a socket open
    with engine_errors(f"the Docker engine at {where}"):
        if where.startswith(("tcp://", "https://")):  # its certificates come from the environment
            client = docker.from_env(version="auto", timeout=timeout)
        else:
            client = docker.DockerClient(base_url=where, version="auto", timeout=timeout)
        try:
            client.ping()
        except BaseException:
            client.close()
            raise
        return client


def _require_listener(where: str) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(where.removeprefix("unix://"))
        except OSError as e:
            raise StackError(f"the Docker engine at {where}: can't be reached ({e.strerror or e})") from None


@contextmanager
def engine_errors(what: str) -> Iterator[None]:
    """Turns what the SDK raises into a :class:`StackError` that says what was being done."""
    import docker.errors  # noqa: PLC0415
    import requests.exceptions  # noqa: PLC0415  # the SDK lets these through

    try:
        yield
    except docker.errors.APIError as e:
        raise StackError(f"{what}: {e.explanation or e}") from None
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as e:
        raise StackError(f"{what}: can't be reached or does not answer ({_last(e)})") from None


def need_image(client: DockerClient, image: str, setting: str, tell: Callable[[str], None]) -> None:
    """Makes sure that an image is here; pulls it when it is not.

    Raises:
        NoImage: it can't be had; names the setting.
    """
    import docker.errors  # noqa: PLC0415

    with engine_errors(image):
        if has_image(client, image):
            return
        tell(f"pulling the image {image}, once")
        try:
            name, _, tag = image.rpartition(":")
            client.images.pull(name or image, tag=tag if name else "latest")
        except docker.errors.APIError as e:
            raise NoImage(
                f"the image {image} is not here and can't be pulled ({e.explanation or e}): name another one in "
                f"{setting}, or set stack.backend to process"
            ) from None


def has_image(client: DockerClient, image: str) -> bool:
    """Whether an image is here."""
    import docker.errors  # noqa: PLC0415

    with engine_errors(image):
        try:
            client.images.get(image)
        except docker.errors.ImageNotFound:
            return False
    return True


def _last(error: BaseException) -> Any:
    while error.__context__ is not None:
        error = error.__context__
    return error
