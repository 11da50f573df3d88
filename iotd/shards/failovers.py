"""The sharding metadata: which location lives where, its series, and its failovers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from iotd.config import Settings
from iotd.config.places import metadata_file
from iotd.config.topology import Shard
from iotd.model.errors import StateError
from iotd.ops.files import write_atomically
from iotd.ops.systemerrors import said

_KEPT = 100


@dataclass(frozen=True, slots=True)
class Failover:
    """A shard's writes going over to another node.

    Attributes:
        at: when the other node took the first write, ISO 8601 UTC.
        source: the node before, by name.
        target: the node after, by name.
        reason: what was wrong with the node before.
        gap_ms: between the last write that was accepted before and the first after.
    """

    at: str
    source: str
    target: str
    reason: str
    gap_ms: int


class ShardingMetadata:
    """One JSON file per location in ``sharding_metadata/``, always written whole and renamed into place."""

    def __init__(self, state: Path, shard: Shard, keys: Callable[[], Sequence[str]], system: str | None) -> None:
        """
        Args:
            system: the id that the shard's servers carry; None where they were not written to yet.
            keys: the Redis keys of the location's series, as they are when the file is written.
        """
        self.path = metadata_file(state, shard.location)
        self._shard = shard
        self._keys = keys
        self._system = system
        self.failovers: list[Failover] = self._read()

    def _read(self) -> list[Failover]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            # until version 0.1 they were called moves
            return [Failover(**entry) for entry in content.get("failovers", content.get("moves", ()))]
        except (OSError, ValueError, AttributeError, TypeError):
            return []  # nothing depends on it: it is history for people

    @property
    def last(self) -> Failover | None:
        """The last failover that is remembered; None where there was none."""
        return self.failovers[-1] if self.failovers else None

    def failed_over(self, source: str, target: str, reason: str, gap_s: float) -> None:
        """Adds a failover and writes the file; blocking."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.failovers.append(Failover(now, source, target, reason, round(1000 * gap_s)))
        del self.failovers[:-_KEPT]
        self.write(target)

    def write(self, master: str | None) -> None:
        """Writes the file with the present master (None: not known yet); blocking.

        Raises:
            OSError: it can't be written.
        """
        shard = self._shard
        content: dict[str, Any] = {
            "location": shard.location,
            "shard": shard.name,
            "place": shard.place,
            "service": shard.service,
            "system": self._system,
            "master": master,
            "formers": [{"name": name, "until": until} for name, until in shard.formers],
            "nodes": {node.name: str(node.address) for node in shard.nodes},
            "series": list(self._keys()),
            "last_failover": self.last.at if self.last else None,
            "failovers": [asdict(failover) for failover in self.failovers],
        }
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(content, indent=2, ensure_ascii=False))


def note_places(settings: Settings, shards: Iterable[Shard]) -> None:
    """Notes which servers are whose before they are started or written to; blocking.

    Raises:
        StateError: it can't be written.
    """
    for shard in shards:
        known = settings.known.get(shard.location)
        if known is None or known.place is None:
            metadata = ShardingMetadata(settings.state, shard, tuple, shard.system)
            try:
                metadata.write(None)
            except OSError as e:
                raise StateError(f"{metadata.path}: can't be written ({said(e)}); set state_dir") from None
