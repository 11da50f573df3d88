"""The network that the containers of one stack share, and each node's fixed address in it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from iotd.config.topology import Node
from iotd.stack.container import ADDRESS, NODE, PROJECT, Owner
from iotd.stack.engine import engine_errors

if TYPE_CHECKING:
    from docker import DockerClient

_NAME = "redis-net"
_FIRST_HOST = 16
"""Below are the network's own addresses and those that Docker gives to others."""


class Network:
    """One bridge network, with a subnet that is ours."""

    def __init__(self, client: DockerClient, owner: Owner) -> None:
        self._client = client
        self._owner = owner
        self.name = owner.prefix + _NAME

    def make(self) -> None:
        """Makes it, where it is missing.

        Raises:
            StackError: there is one of that name that is not ours.
        """
        from docker.types import IPAMConfig, IPAMPool  # noqa: PLC0415

        found = self._find()
        if found is not None:
            self._owner.require("network", self.name, found.attrs.get("Labels"))
            return
        labels = self._owner.labels(_NAME)
        with engine_errors(f"the network {self.name}"):
            # Docker gives fixed addresses only in a subnet that was asked for: ask for the one that it would choose
            chosen = self._client.networks.create(self.name, labels=labels)
            chosen.reload()
            subnet = chosen.attrs["IPAM"]["Config"][0]["Subnet"]
            chosen.remove()
            pool = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])
            self._client.networks.create(self.name, labels=labels, ipam=pool)

    def addresses(self, nodes: Iterable[Node]) -> dict[str, str]:
        """Every node's address by its name: that of its container where there is one, else a free one."""
        with engine_errors(f"the network {self.name}"):
            network = self._client.networks.get(self.name)
            filters = {"label": f"{PROJECT}={self._owner.project}"}
            made: list[dict[str, Any]] = self._client.api.containers(all=True, filters=filters)
        subnet = ipaddress.ip_network(network.attrs["IPAM"]["Config"][0]["Subnet"])
        given = {c["Labels"][NODE]: c["Labels"][ADDRESS] for c in made if self._owner.owns(c["Labels"])}
        # after the network was made anew, with another subnet
        given = {name: address for name, address in given.items() if ipaddress.ip_address(address) in subnet}
        taken = set(given.values())
        free = (a for i, a in enumerate(map(str, subnet.hosts())) if i >= _FIRST_HOST and a not in taken)
        for node in nodes:
            if node.name not in given:
                given[node.name] = next(free)
        return given

    def remove(self) -> None:
        """Removes it, if it is there and ours."""
        found = self._find()
        if found is not None and self._owner.owns(found.attrs.get("Labels")):
            with engine_errors(f"the network {self.name}"):
                found.remove()

    def _find(self) -> Any:
        import docker.errors  # noqa: PLC0415

        with engine_errors(f"the network {self.name}"):
            try:
                return self._client.networks.get(self.name)
            except docker.errors.NotFound:
                return None
