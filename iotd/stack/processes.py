"""The process backend: plain processes of real servers, for a machine with no Docker."""

from __future__ import annotations

import hashlib
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Generator
from pathlib import Path

import psutil

from iotd.config import Address, Settings
from iotd.config.topology import Node, Shard
from iotd.model.errors import StackError
from iotd.ops.files import write_secret
from iotd.ops.systemerrors import said
from iotd.stack.backend import Running
from iotd.stack.binaries import RedisBinaries, find_influxd, find_redis
from iotd.stack.conf import Site, TlsFiles, monitored, redis_conf, sentinel_conf, tls_files
from iotd.stack.health import require_free_port
from iotd.stack.process import ServerProcess

_LOOK_EVERY_S = 0.2


class Processes:
    """Each node has a folder of its own under ``nodes/`` in the state directory: configuration, data, log, pid."""

    name = "process"

    def __init__(self, settings: Settings, tell: Callable[[str], None] = lambda line: None) -> None:
        self._settings = settings
        self._tell = tell
        self._folder = settings.state / "nodes"
        self._redis: RedisBinaries | None = None
        self._tls: TlsFiles | None = None

    def prepare(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._tls = tls_files(self._settings)
        self._redis = find_redis(self._settings.stack, self._tell)

    def has_influxdb(self) -> bool:
        return find_influxd(self._settings.stack) is not None

    def require_free(self, node: Node, setting: str) -> None:
        require_free_port(node, setting)

    def has(self, node: Node) -> bool:
        return (self._folder / node.name).exists()

    def state(self, node: Node) -> Running:
        process = self._process(node).find()
        if process is None:
            return "stopped"
        try:
            return "paused" if process.status() == psutil.STATUS_STOPPED else "running"
        except psutil.NoSuchProcess:
            return "stopped"

    def start_redis(self, node: Node, master: Address | None) -> None:
        binaries, site = self._binaries, self._site(node)
        config = self._folder / node.name / "redis.conf"
        write_secret(config, redis_conf(self._settings, node, site, binaries.module, master))
        self._start(node, [str(binaries.server), str(config)])

    def start_sentinel(self, shard: Shard, node: Node, master: Address) -> None:
        binaries, site = self._binaries, self._site(node)
        config = self._folder / node.name / "sentinel.conf"
        digest = config.with_name("made-from")
        first = sentinel_conf(self._settings, shard, node, site, master)
        # Sentinel keeps its id, its epochs and whom it knows in this file: made anew only when the settings, and not
        # just the master, are other ones
        neutral = sentinel_conf(self._settings, shard, node, site, shard.master.address)
        made_from = hashlib.sha256(neutral.encode()).hexdigest()
        if not config.exists() or not digest.exists() or digest.read_text().strip() != made_from:
            write_secret(config, first)
            write_secret(digest, made_from)
        self._start(node, [str(binaries.server), str(config), "--sentinel"])

    def start_influxdb(self, node: Node) -> None:
        influxd = find_influxd(self._settings.stack)
        if influxd is None:
            raise StackError(
                'no influxd: name one in stack.influxd, put one on PATH, or set archive.store to "embedded:"'
            )
        folder = self._own(node)
        command = [
            str(influxd),
            *("--bolt-path", str(folder / "influxd.bolt")),
            *("--sqlite-path", str(folder / "influxd.sqlite")),
            *("--engine-path", str(folder / "engine")),
            *("--http-bind-address", str(Address(self._settings.stack.bind or node.address.host, node.address.port))),
            *("--reporting-disabled", "--log-level", "warn"),
        ]
        self._start(node, command)

    def start_extra(self, node: Node) -> None:
        raise StackError(f"{node.name} is to be had as a container only: set stack.backend to docker")

    def last_master(self, shard: Shard) -> Address | None:
        texts = []
        for node in shard.sentinels:
            config = self._folder / node.name / "sentinel.conf"
            if config.exists():
                texts.append(config.read_text())
        return monitored(texts, shard.service)

    def stop(self, node: Node) -> bool:
        return self._process(node).stop()

    def made(self) -> list[str]:
        return sorted(file.parent.name for file in self._folder.glob("*/pid"))

    def end(self, name: str) -> bool:
        return ServerProcess(self._folder / name).stop()

    def kill(self, node: Node) -> bool:
        return self._process(node).signal(signal.SIGKILL)

    def pause(self, node: Node) -> bool:
        return self._process(node).signal(signal.SIGSTOP)

    def resume(self, node: Node) -> bool:
        return self._process(node).signal(signal.SIGCONT)

    def log(self, node: Node, lines: int, *, follow: bool = False) -> Generator[str]:
        folder = self._folder / node.name
        path = next((p for p in (folder / "log", folder / "output") if p.exists() and p.stat().st_size), None)
        if path is None:
            return
        with path.open(errors="replace") as log:
            yield from deque(log, lines)
            while follow:
                if line := log.readline():
                    yield line
                else:
                    time.sleep(_LOOK_EVERY_S)

    @property
    def place(self) -> str:
        return str(self._folder)

    def clear(self) -> None:
        return

    def close(self) -> None:
        return

    def forget(self) -> int:
        folders = [path for path in self._folder.glob("*") if path.is_dir()]
        for folder in folders:
            shutil.rmtree(folder)
        return len(folders)

    @property
    def _binaries(self) -> RedisBinaries:
        if self._redis is None:
            self.prepare()
        assert self._redis is not None
        return self._redis

    def _own(self, node: Node) -> Path:
        folder = self._folder / node.name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def _site(self, node: Node) -> Site:
        folder = self._own(node)
        bind = self._settings.stack.bind or node.address.host
        return Site(bind, folder, folder / "log", tls=self._tls)

    def _process(self, node: Node) -> ServerProcess:
        return ServerProcess(self._folder / node.name)

    def _start(self, node: Node, command: list[str]) -> None:
        try:
            self._process(node).start(command)
        except OSError as e:
            raise StackError(f"{node.name}: {command[0]} can't be started: {said(e)}") from None
