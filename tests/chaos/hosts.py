"""Hosts of the lab: network namespaces on one bridge, whose links can be cut, one way or both, and made slow."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

_NET = "10.77.0"
_BRIDGE = "lab0"


@dataclass(frozen=True)
class Host:
    """One host: a namespace with an address."""

    name: str
    address: str

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command that runs ``command`` on this host."""
        return ["ip", "netns", "exec", self.name, *command]


class Hosts:
    """All hosts of the lab; whoever made them is on the bridge too, and reaches each of them whatever is cut."""

    ours = f"{_NET}.1"
    """The address of whoever made them."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}
        _ip("link", "add", _BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{_NET}.1/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")

    def add(self, name: str) -> Host:
        """A new host."""
        n = len(self._hosts) + 10
        host = Host(name, f"{_NET}.{n}")
        _ip("netns", "add", name)
        _ip("link", "add", f"v{n}", "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", f"v{n}", "master", _BRIDGE)
        _ip("link", "set", f"v{n}", "up")
        for args in (("addr", "add", f"{host.address}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
            _ip("-n", name, *args)
        _ip("-n", name, "link", "set", "lo", "up")
        self._hosts[name] = host
        return host

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    @contextmanager
    def cut(self, host: Host, others: Sequence[Host], *, one_way: bool = False) -> Iterator[None]:
        """Drops all packets between a host and others, in silence, until it is left; then all links are healed.

        With ``one_way`` only those that come to the host.
        """
        for other in others:
            _drop(host, other)
            if not one_way:
                _drop(other, host)
        try:
            yield
        finally:
            self.heal()

    def others(self, host: Host) -> list[Host]:
        """All hosts but this one."""
        return [other for other in self._hosts.values() if other != host]

    @contextmanager
    def slow(self, host: Host, kbit: int) -> Iterator[None]:
        """Lets a host send so many kilobit a second, a second's worth waiting, until it is left; then all is healed."""
        shape = ["rate", f"{kbit}kbit", "burst", "16kbit", "latency", "1000ms"]
        _run(host.inside(["tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", *shape]))
        try:
            yield
        finally:
            self.heal()

    def heal(self) -> None:
        """All links are whole and fast again."""
        for host in self._hosts.values():
            _run(host.inside(["iptables", "-F", "INPUT"]))
            subprocess.run(
                host.inside(["tc", "qdisc", "del", "dev", "eth0", "root"]), stderr=subprocess.DEVNULL, check=False
            )  # fails where it was not slow


def _drop(at: Host, source: Host) -> None:
    _run(at.inside(["iptables", "-A", "INPUT", "-s", source.address, "-j", "DROP"]))


def _ip(*args: str) -> None:
    _run(["ip", *args])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
