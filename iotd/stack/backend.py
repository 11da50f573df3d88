"""What a backend does: nodes by name, whether they are processes or containers."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal, Protocol

from iotd.config import Address
from iotd.config.topology import Node, Shard

Running = Literal["running", "paused", "stopped"]


class Backend(Protocol):
    """Starts and stops single servers. The order, the roles and the waiting are :class:`iotd.stack.Stack`'s."""

    name: str

    @property
    def place(self) -> str:
        """Where the data of the servers is, for people."""

    def prepare(self) -> None:
        """Makes what all servers need: binaries, network, folders.

        Raises:
            StackError: it can't be had.
        """

    def has_influxdb(self) -> bool:
        """Whether this backend can run an InfluxDB here."""

    def require_free(self, node: Node, setting: str) -> None:
        """Makes sure that a node's address can be had before it is started; ``setting`` is the one to change.

        Raises:
            StackError: it is taken.
        """

    def has(self, node: Node) -> bool:
        """Whether the node was made, running or not: one that is only there when it is asked for."""

    def state(self, node: Node) -> Running:
        """Whether the node's server runs."""

    def start_redis(self, node: Node, master: Address | None) -> None:
        """Starts a Redis node, as a replica of ``master`` or as master."""

    def start_sentinel(self, shard: Shard, node: Node, master: Address) -> None:
        """Starts a Sentinel; one that ran before keeps what it knows."""

    def start_influxdb(self, node: Node) -> None:
        """Starts InfluxDB."""

    def start_extra(self, node: Node) -> None:
        """Starts a server that only some want.

        Raises:
            StackError: this backend can't.
        """

    def last_master(self, shard: Shard) -> Address | None:
        """The master that the shard's Sentinels last agreed on, as they left it when they ended."""

    def stop(self, node: Node) -> bool:
        """Ends a node's server in good order; False when it did not run."""

    def made(self) -> list[str]:
        """Names of the nodes that were made from this state directory, whatever the configuration says now."""

    def end(self, name: str) -> bool:
        """Ends a node that the configuration no longer knows, in good order; False when it did not run."""

    def kill(self, node: Node) -> bool:
        """Ends it at once, as a crash would."""

    def pause(self, node: Node) -> bool:
        """Makes it hang: it keeps its connections and answers nothing."""

    def resume(self, node: Node) -> bool:
        """Lets a paused one go on."""

    def log(self, node: Node, lines: int, *, follow: bool = False) -> Generator[str]:
        """The last lines of a node's log, each with its line break; with ``follow`` also what comes, without end."""

    def clear(self) -> None:
        """Removes what is left of stopped servers, but not their data."""

    def close(self) -> None:
        """Lets go of what this backend itself holds; the servers go on."""

    def forget(self) -> int:
        """Deletes the data of all servers, which must not run; returns of how many."""
