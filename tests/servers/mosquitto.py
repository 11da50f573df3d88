"""A real mosquitto of a test's own, set up as it wants; stopped, killed, started again with what it had on disk."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers.certificates import tls_settings
from tests.servers.needs import lacking
from tests.servers.ports import port_block

_STARTS_S = 10
_STOPS_S = 20


@dataclass
class Broker:
    """A mosquitto; it listens on 127.0.0.1 and keeps what it has in :attr:`folder`, whatever becomes of its process.

    Attributes:
        ports: by scheme (``mqtt``, and ``mqtts``, ``ws``, ``wss`` where they were asked for).
        users: names and passwords; nobody needs one if it is empty.
        tls: whether :attr:`ca`, :attr:`certificate` and :attr:`key` are there.
    """

    folder: Path
    ports: Mapping[str, int]
    users: Mapping[str, str]
    tls: bool
    _program: str
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Of plain MQTT."""
        return self.ports["mqtt"]

    @property
    def ca(self) -> Path:
        """The authority that its certificate, and those of its clients, are of."""
        return self.folder / "tls/ca.pem"

    @property
    def certificate(self) -> Path:
        """A client's."""
        return self.folder / "tls/client.pem"

    @property
    def key(self) -> Path:
        """Of :attr:`certificate`."""
        return self.folder / "tls/client.key"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The one that runs now, or ran last."""
        return self._running[-1]

    @property
    def said(self) -> str:
        """Its log of all that came and went since it was made, over its restarts."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def url(self, scheme: str = "mqtt") -> str:
        """Where it listens, as iotd's configuration has it."""
        return f"{scheme}://127.0.0.1:{self.ports[scheme]}"

    def start(self) -> None:
        """Starts it, and waits until it listens; blocking."""
        with (self.folder / "log").open("ab") as log:
            command = [self._program, "-c", str(self.folder / "mosquitto.conf")]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._running.append(process)
        limit = time.monotonic() + _STARTS_S
        while not all(map(_answers, self.ports.values())):
            assert process.poll() is None, f"mosquitto ended with {process.returncode}: {self.said[-2000:]}"
            assert time.monotonic() < limit, f"mosquitto does not listen: {self.said[-2000:]}"
            time.sleep(0.01)

    def stop(self) -> None:
        """Asks it to end (SIGTERM): it writes down what it keeps, if it keeps anything; blocking."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(_STOPS_S) == 0, self.said[-2000:]

    def kill(self) -> None:
        """SIGKILL: what it has not written down is lost; blocking."""
        self.process.kill()
        self.process.wait()

    def save(self) -> None:
        """Asks it to write down now what it keeps (SIGUSR1), and waits until it has; blocking."""
        before = self._written()
        self.process.send_signal(signal.SIGUSR1)
        limit = time.monotonic() + _STOPS_S
        while self._written() in (None, before):  # it writes another file, and renames that
            assert time.monotonic() < limit, "it writes nothing down"
            time.sleep(0.01)

    def _written(self) -> tuple[int, int] | None:
        try:
            found = (self.folder / "mosquitto.db").stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def mosquitto(
    folder: Path,
    *,
    tls: bool = False,
    client_certificates: bool = False,
    websockets: bool = False,
    users: Mapping[str, str] | None = None,
    acl: Sequence[str] = (),
    **settings: Any,
) -> Iterator[Broker]:
    """A running mosquitto on free ports; gone at the end.

    Args:
        folder: made; its configuration, its data, its log, its certificates.
        tls: it listens with TLS too.
        client_certificates: and wants a certificate of a client then.
        websockets: it listens for websockets too (with TLS as well, if ``tls``).
        users: names and passwords of who may connect; without, anybody may.
        acl: lines of its access list.
        settings: of mosquitto.conf, over those made here (``persistence=False, max_queued_messages=10``).
    """
    program = _find("mosquitto")
    folder.mkdir(parents=True, exist_ok=True)
    with port_block() as first:
        schemes = ["mqtt"] + ["mqtts"] * tls + ["ws"] * websockets + ["wss"] * (tls and websockets)
        ports = {scheme: first + n for n, scheme in enumerate(schemes)}
        broker = Broker(folder, ports, users or {}, tls, program)
        if tls:
            tls_settings(folder / "tls")
        _configure(broker, client_certificates, acl, settings)
        try:
            broker.start()
            yield broker
        finally:
            for process in broker._running:
                if process.poll() is None:
                    process.kill()
                process.wait()


def _find(program: str) -> str:
    # Debian has it where only root looks
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    if (found := shutil.which(program, path=path)) is None:
        lacking("mosquitto", f"{program} is not on PATH; Debian has it in mosquitto and mosquitto-clients")
    return found


def _configure(broker: Broker, client_certificates: bool, acl: Sequence[str], settings: dict[str, Any]) -> None:
    folder = broker.folder
    wanted: dict[str, Any] = {
        "user": pwd.getpwuid(os.getuid()).pw_name,  # as root it would become another, who may not write here
        "persistence": True,
        "persistence_location": f"{folder}/",
        "log_dest": "stderr",  # not buffered
        "log_type": "all",
        "log_timestamp_format": "%Y-%m-%dT%H:%M:%S",
        "allow_anonymous": not broker.users,
    }
    if broker.users:
        passwords = wanted["password_file"] = folder / "passwords"
        passwords.touch(0o600)
        for user, password in broker.users.items():
            subprocess.run([_find("mosquitto_passwd"), "-b", passwords, user, password], check=True)
    if acl:
        access = wanted["acl_file"] = folder / "acl"
        access.write_text("".join(f"{line}\n" for line in acl))
        access.chmod(0o600)
    lines = [f"{key} {_spelt(value)}" for key, value in (wanted | settings).items()]
    for (
        scheme,
        port,
    ) in broker.ports.items():  # one of plain MQTT comes first: 2.0.11 refuses to run with websockets alone
        lines.append(f"listener {port} 127.0.0.1")
        if scheme.startswith("ws"):
            lines.append("protocol websockets")
        if scheme in ("mqtts", "wss"):
            tls = folder / "tls"
            lines += [f"cafile {tls}/ca.pem", f"certfile {tls}/server.pem", f"keyfile {tls}/server.key"]
            lines += ["require_certificate true"] * client_certificates
    (folder / "mosquitto.conf").write_text("".join(f"{line}\n" for line in lines))


def _spelt(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
