"""The docker backend: a container and a volume for each server, in a network of their own.

Servers know each other by name, whoever is up: each container has a fixed address in the network, and the others' names
in its /etc/hosts. A Sentinel that had to ask a name server for a node that is gone would stop for seconds, and with it
the failover. We reach them by the ports that are published, and take a Sentinel's name for the node of that name
(:class:`iotd.shards.sentinels.AddressMap`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from dataclasses import astuple
from functools import cached_property
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, Any

from iotd.config import Address, Settings
from iotd.config.topology import Node, Shard, topology
from iotd.model.errors import StackError
from iotd.shards.sentinels import AddressMap
from iotd.stack import engine
from iotd.stack.backend import Running
from iotd.stack.conf import Site, TlsFiles, monitored, redis_conf, sentinel_conf, tls_files
from iotd.stack.container import FOLDER, NODE, PROJECT, STATE, Container, Owner, Spec
from iotd.stack.entry import ask_file, redis_entry, redis_health, sentinel_entry
from iotd.stack.health import require_free_port
from iotd.stack.network import Network

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container as DockerContainer


class Containers:
    """Each node is a container with its design's name; its data, configuration and passwords are in its volume."""

    name = "docker"

    def __init__(self, settings: Settings, tell: Callable[[str], None] = lambda line: None) -> None:
        self._settings = settings
        self._docker = settings.stack.docker
        self._tell = tell
        offset = settings.topology.port_offset
        project = self._docker.project or (f"offset{offset}" if offset else "iotd")
        self._owner = Owner(project, str(settings.state))
        self._topology = topology(settings)
        self._tls: TlsFiles | None = None
        self._making = Lock()

    @cached_property
    def _client(self) -> DockerClient:
        return engine.connect()

    @property
    def _network(self) -> Network:
        return Network(self._client, self._owner)

    # ── what all of them need ──

    def prepare(self) -> None:
        self._tls = tls_files(self._settings)
        for location in self._settings.locations:
            if not location.isascii():
                raise StackError(
                    f"{location}: Docker allows only a-z, A-Z, 0-9, _ and - in names; name the location so, "
                    "or set stack.backend to process"
                )
        engine.need_image(self._client, self._docker.redis_image, "stack.docker.redis_image", self._tell)
        if self._wants_influxdb:
            try:
                engine.need_image(self._client, self._docker.influxdb_image, "stack.docker.influxdb_image", self._tell)
            except engine.NoImage as e:
                if self._settings.archive.scheme == "influxdb":
                    raise
                self._tell(f"{e}; the archive is the embedded one")
        self._network.make()

    @property
    def _wants_influxdb(self) -> bool:
        s = self._settings
        return s.influxdb.url is None and s.archive.scheme in ("auto", "influxdb")

    def has_influxdb(self) -> bool:
        return engine.has_image(self._client, self._docker.influxdb_image)

    def has(self, node: Node) -> bool:
        return self._container(node).find() is not None

    def require_free(self, node: Node, setting: str) -> None:
        self._container(node).find()  # refuses one that is not ours
        if engine.is_local():
            require_free_port(node, setting)

    # ── one of them ──

    def state(self, node: Node) -> Running:
        return self._container(node).state()

    def start_redis(self, node: Node, master: Address | None) -> None:
        shard = self._shard(node)
        named = None if master is None else self._inside(shard, master)
        config = redis_conf(self._settings, node, self._site(node), None, named)
        container = self._made(node)
        container.put({"redis.conf": config, "told": "yes", **self._files(shard, node)})
        container.start()

    def start_sentinel(self, shard: Shard, node: Node, master: Address) -> None:
        site = self._site(node)
        first = sentinel_conf(self._settings, shard, node, site, self._inside(shard, master))
        # as in Processes: what a Sentinel has learned stays, unless the settings are other ones
        neutral = sentinel_conf(self._settings, shard, node, site, self._inside(shard, shard.master.address))
        made_from = hashlib.sha256(neutral.encode()).hexdigest()
        container = self._made(node)
        files = self._files(shard, node)
        if container.get("made-from") != made_from or container.get("sentinel.conf") is None:
            files |= {"sentinel.conf": first, "made-from": made_from}
        container.put(files)
        container.start()

    def start_influxdb(self, node: Node) -> None:
        self._made(node).start()

    def start_extra(self, node: Node) -> None:
        engine.need_image(self._client, self._docker.redisinsight_image, "stack.docker.redisinsight_image", self._tell)
        self._made(node).start()

    def last_master(self, shard: Shard) -> Address | None:
        texts = (self._made(node).get("sentinel.conf") for node in shard.sentinels)
        said = monitored(filter(None, texts), shard.service)
        return AddressMap(shard, self._settings)(*said) if said else None

    def stop(self, node: Node) -> bool:
        return self._container(node).stop()

    def made(self) -> list[str]:
        return sorted({container.labels[NODE] for container in self._all()})

    def end(self, name: str) -> bool:
        ended = [self._found(container).stop() for container in self._all() if container.labels[NODE] == name]
        return any(ended)

    def kill(self, node: Node) -> bool:
        return self._container(node).kill()

    def pause(self, node: Node) -> bool:
        return self._container(node).pause()

    def resume(self, node: Node) -> bool:
        return self._container(node).resume()

    def log(self, node: Node, lines: int, *, follow: bool = False) -> Generator[str]:
        return self._container(node).log(lines, follow=follow)

    # ── taking it down ──

    @property
    def place(self) -> str:
        return f"the volumes {self._owner.prefix}NODE-data of Docker"

    def clear(self) -> None:
        owners = {self._owner}
        for container in self._all():
            owners.add(self._owner.of(container.labels))
            self._found(container).remove()
        for owner in owners:
            Network(self._client, owner).remove()

    def close(self) -> None:
        if "_client" in self.__dict__:  # a cached_property that was asked for
            self._client.close()
            del self._client

    def forget(self) -> int:
        with engine.engine_errors("the volumes"):
            volumes = self._client.volumes.list(filters={"label": f"{PROJECT}={self._owner.project}"})
            ours = [volume for volume in volumes if self._owner.owns(volume.attrs.get("Labels"))]
            for volume in ours:
                volume.remove()
        return len(ours)

    # ── how ──

    def container_name(self, node: str) -> str:
        """The name of a node's container."""
        return self._owner.prefix + node

    def _container(self, node: Node) -> Container:
        return Container(self._client, self._owner, node.name)

    def _all(self) -> list[DockerContainer]:
        """The containers of this state directory, also those of a project that was called otherwise."""
        with engine.engine_errors("the containers"):
            wanted = {"label": [f"{STATE}={self._owner.state}", NODE]}
            found: list[DockerContainer] = self._client.containers.list(all=True, filters=wanted)
        return found

    def _found(self, container: DockerContainer) -> Container:
        return Container(self._client, self._owner.of(container.labels), container.labels[NODE])

    def _made(self, node: Node) -> Container:
        container = self._container(node)
        with self._making:  # two at once would be given the same address
            self._require_volume(node)
            container.make(self._spec(node, self._network.addresses(self._topology.nodes)))
        return container

    def _require_volume(self, node: Node) -> None:
        import docker.errors  # noqa: PLC0415

        name = self._volume(node)
        with engine.engine_errors(f"the volume {name}"):
            try:
                found = self._client.volumes.get(name)
            except docker.errors.NotFound:
                return
            self._owner.require("volume", name, found.attrs.get("Labels"))

    def _volume(self, node: Node) -> str:
        return f"{self._owner.prefix}{node.name}-data"

    def _spec(self, node: Node, addresses: dict[str, str]) -> Spec:
        docker, port = self._docker, node.address.port
        shared: dict[str, Any] = {
            "hostname": node.name,
            "network": self._network.name,
            "address": addresses[node.name],
            "publish": self._settings.stack.bind or node.address.host,
            "port": port,
            "volume": self._volume(node),
            "folder": FOLDER,
            "restart": docker.restart,
            "health_interval_s": docker.health_interval.total_seconds(),
            "memory": docker.memory,
            "cpus": docker.cpus,
        }
        if node.role == "influxdb":
            paths = {"bolt": "influxd.bolt", "sqlite": "influxd.sqlite", "engine": "engine"}
            command = [part for name, file in paths.items() for part in (f"--{name}-path", f"{FOLDER}/{file}")]
            command += ["--http-bind-address", f":{port}", "--reporting-disabled", "--log-level", "warn"]
            url = f"http://127.0.0.1:{port}"
            return Spec(
                image=docker.influxdb_image,
                entrypoint=("influxd",),
                command=tuple(command),
                health=f"influx ping --host {url} || curl -fs {url}/health",
                user="0",
                **shared,
            )
        if node.role == "redisinsight":
            # it keeps its own files as its own user
            return Spec(
                image=docker.redisinsight_image,
                entrypoint=(),
                command=(),
                health=None,
                environment=self._insight(port),
                hosts={n.name: addresses[n.name] for shard in self._topology.shards for n in shard.nodes},
                locked=False,
                **shared | {"folder": "/data"},
            )
        script = sentinel_entry(FOLDER) if node.role == "sentinel" else redis_entry(FOLDER)
        return Spec(
            image=docker.redis_image,
            entrypoint=("/bin/sh", "-c", script),
            command=(),
            health=redis_health(FOLDER, port),
            hosts={other.name: addresses[other.name] for other in self._shard(node).nodes if other != node},
            user="0",
            **shared,
        )

    def _insight(self, port: int) -> dict[str, str]:
        # which databases it offers; passwords are typed in, since variables can be read by whoever may inspect it
        offered = {"RI_APP_PORT": str(port)}
        for i, shard in enumerate(self._topology.shards):
            offered |= {
                f"RI_REDIS_HOST_{i}": shard.master.name,
                f"RI_REDIS_PORT_{i}": str(shard.master.address.port),
                f"RI_REDIS_ALIAS_{i}": shard.master.name,
            }
        return offered

    def _shard(self, node: Node) -> Shard:
        return next(shard for shard in self._topology.shards if node in shard.nodes)

    def _inside(self, shard: Shard, address: Address) -> Address:
        return Address(shard.name_of(address), address.port)

    def _site(self, node: Node) -> Site:
        inside = PurePosixPath(FOLDER)
        tls = None
        if self._tls is not None:
            tls = TlsFiles(inside / "server.pem", inside / "server.key", inside / "ca.pem")
        return Site("* -::*", inside, announce=node.name, tls=tls)

    def _files(self, shard: Shard, node: Node) -> dict[str, str | bytes]:
        site = self._site(node)
        files: dict[str, str | bytes] = {"ask": ask_file(self._settings, shard, node, site.tls)}
        if self._tls is not None and site.tls is not None:
            for there, here in zip(astuple(site.tls), astuple(self._tls), strict=True):
                files[there.name] = Path(here).read_bytes()
        return files
