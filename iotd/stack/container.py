"""One container: what it is made of, whether it is ours, its files and its state."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from iotd.model.errors import StackError
from iotd.stack.backend import Running
from iotd.stack.engine import engine_errors

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container as DockerContainer

FOLDER = "/iotd"
"""Where a container has its volume: no image has such a folder, so that it is root's, whoever the image's user is."""
PROJECT, NODE, STATE, ADDRESS, SPEC = "iotd.project", "iotd.node", "iotd.state", "iotd.address", "iotd.spec"
"""Labels. The state directory says whose a container is, the digest of its :class:`Spec` whether it is up to date."""

_STOP_S = 20
_RUNNING: Mapping[str, Running] = {"running": "running", "restarting": "running", "paused": "paused"}


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose containers these are: a project's, of one state directory."""

    project: str
    state: str

    @property
    def prefix(self) -> str:
        """Before every name; empty for the names of the design."""
        return "" if self.project == "iotd" else f"{self.project}-"

    def of(self, labels: Mapping[str, str]) -> Owner:
        """Of the same state directory, with the project that a container was made for."""
        return Owner(labels[PROJECT], self.state)

    def labels(self, node: str) -> dict[str, str]:
        return {PROJECT: self.project, NODE: node, STATE: self.state}

    def owns(self, labels: Mapping[str, str] | None) -> bool:
        said = labels or {}
        return said.get(PROJECT) == self.project and said.get(STATE) == self.state

    def require(self, kind: str, name: str, labels: Mapping[str, str] | None) -> None:
        """Makes sure that something that exists already is ours.

        Raises:
            StackError: it is not; says whose it is, if it says so itself.
        """
        if self.owns(labels):
            return
        other = (labels or {}).get(STATE)
        whose = f"is of the iotd stack whose state is in {other}" if other else "was not made by iotd"
        raise StackError(
            f"there is a {kind} named {name} already, and it {whose}: it stays untouched; "
            "remove or rename it, or give this stack names of its own with stack.docker.project"
        )


@dataclass(frozen=True, slots=True)
class Spec:
    """What a container is made of; no secret is in it, all of it can be read by `docker inspect`.

    Attributes:
        user: None: the image's own.
        locked: no capability, no writing but into the volume.
        health: the shell command that says whether it is healthy, None for none.
        hosts: address by name, in its /etc/hosts: found at once, also while the other is down.
    """

    image: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    hostname: str
    network: str
    address: str
    publish: str
    port: int
    volume: str
    folder: str
    restart: str
    health: str | None
    health_interval_s: float
    hosts: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: int | None = None
    cpus: float | None = None
    user: str | None = None
    locked: bool = True

    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


class Container:
    """The container of one node, if there is one."""

    def __init__(self, client: DockerClient, owner: Owner, node: str) -> None:
        self._client = client
        self._owner = owner
        self._node = node
        self.name = owner.prefix + node

    def find(self) -> DockerContainer | None:
        """Ours of that name, or None.

        Raises:
            StackError: there is one that is not ours.
        """
        import docker.errors  # noqa: PLC0415

        with engine_errors(self.name):
            try:
                found = self._client.containers.get(self.name)
            except docker.errors.NotFound:
                return None
            self._owner.require("container", self.name, found.labels)
            return found

    def make(self, spec: Spec) -> DockerContainer:
        """One that is made to the specification, and does not run: made anew where it was made to another.

        Its volume, and what is in it, stays.
        """
        found = self.find()
        with engine_errors(self.name):
            if found is not None:
                if found.labels.get(SPEC) == spec.digest():
                    return found
                found.remove(force=True)
            return self._client.containers.create(**self._options(spec))

    def _options(self, spec: Spec) -> dict[str, Any]:
        from docker.types import LogConfig, Mount  # noqa: PLC0415

        endpoint = self._client.api.create_endpoint_config(ipv4_address=spec.address, aliases=[self._node])
        labels = self._owner.labels(self._node)
        options: dict[str, Any] = {
            "name": self.name,
            "image": spec.image,
            "entrypoint": list(spec.entrypoint) or None,
            "command": list(spec.command) or None,
            "hostname": spec.hostname,
            "environment": dict(spec.environment),
            "labels": labels | {ADDRESS: spec.address, SPEC: spec.digest()},
            "network": spec.network,
            "networking_config": {spec.network: endpoint},
            "extra_hosts": dict(spec.hosts),
            "ports": {f"{spec.port}/tcp": (spec.publish, spec.port)},
            "mounts": [Mount(spec.folder, spec.volume, labels=labels)],
            "restart_policy": {"Name": spec.restart},
            "log_config": LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"}),
            "security_opt": ["no-new-privileges"],
            "user": spec.user,
        }
        if spec.locked:
            options |= {"cap_drop": ["ALL"], "read_only": True, "tmpfs": {"/tmp": ""}}
        if spec.memory is not None:
            options |= {"mem_limit": spec.memory, "memswap_limit": spec.memory}
        if spec.cpus is not None:
            options["nano_cpus"] = round(spec.cpus * 1e9)
        every = round(spec.health_interval_s * 1e9)
        if spec.health is not None and every:
            options["healthcheck"] = {
                "test": ["CMD-SHELL", spec.health], "interval": every, "timeout": 5_000_000_000, "retries": 3
            }  # fmt: skip
        return options

    def state(self) -> Running:
        found = self.find()
        return "stopped" if found is None else _RUNNING.get(found.status, "stopped")

    def put(self, files: Mapping[str, str | bytes]) -> None:
        """Writes files into its volume, readable for root only; it need not run."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, text in files.items():
                data = text.encode() if isinstance(text, str) else text
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o600
                tar.addfile(info, io.BytesIO(data))
        with engine_errors(self.name):
            self._existing().put_archive(FOLDER, archive.getvalue())

    def get(self, name: str) -> str | None:
        """A file of its volume; None when there is none, or no container."""
        import docker.errors  # noqa: PLC0415

        found = self.find()
        if found is None:
            return None
        with engine_errors(self.name):
            try:
                chunks, _ = found.get_archive(f"{FOLDER}/{name}")
            except docker.errors.NotFound:
                return None
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
                member = tar.extractfile(name)
                return member.read().decode(errors="replace") if member else None

    def start(self) -> None:
        with engine_errors(self.name):
            self._existing().start()

    def stop(self) -> bool:
        """Asks it to end and waits; kills it when it does not. False when it did not run."""
        found = self.find()
        if found is None or found.status not in _RUNNING:
            return False
        with engine_errors(self.name):
            if found.status == "paused":  # a process that is stopped can't hear
                found.unpause()
            found.stop(timeout=_STOP_S)
        return True

    def kill(self) -> bool:
        """Ends it at once; gone on return, and not restarted by its policy. False when it did not run."""
        found = self.find()
        if found is None or found.status not in _RUNNING:
            return False
        with engine_errors(self.name):
            found.kill()
            found.wait(timeout=_STOP_S)
        return True

    def pause(self) -> bool:
        found = self.find()
        if found is None or found.status != "running":
            return False
        with engine_errors(self.name):
            found.pause()
        return True

    def resume(self) -> bool:
        found = self.find()
        if found is None or found.status != "paused":
            return False
        with engine_errors(self.name):
            found.unpause()
        return True

    def remove(self) -> bool:
        """Removes it; its volume stays. False when there was none."""
        found = self.find()
        if found is None:
            return False
        with engine_errors(self.name):
            found.remove(force=True)
        return True

    def log(self, lines: int, *, follow: bool = False) -> Generator[str]:
        """The last lines of what it printed, each with its line break; with ``follow`` also what comes, without end."""
        found = self.find()
        if found is None:
            return
        with engine_errors(self.name):
            if not follow:
                yield from found.logs(tail=lines).decode(errors="replace").splitlines(keepends=True)
                return
            rest = ""
            stream = found.logs(tail=lines, stream=True, follow=True)
            try:
                for chunk in stream:
                    *whole, rest = (rest + chunk.decode(errors="replace")).split("\n")
                    for line in whole:
                        yield line + "\n"
            finally:
                stream.close()
                stream._response.close()  # the SDK shuts the connection down, but keeps its socket

    def _existing(self) -> DockerContainer:
        found = self.find()
        if found is None:
            raise StackError(f"{self.name}: the container is gone; run `iotd stack up`")
        return found
