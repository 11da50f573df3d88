"""The sharding metadata: which location lives where, its series, and when and why it last moved."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from iotd.config.topology import Shard
from iotd.model.roster import Roster
from iotd.ops.files import write_atomically

_KEPT = 100


@dataclass(frozen=True, slots=True)
class Move:
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

    def __init__(self, state: Path, shard: Shard, roster: Roster) -> None:
        self.path = state / "sharding_metadata" / f"{shard.location}.json"
        self._shard = shard
        self._roster = roster
        self.moves: list[Move] = self._read_moves()

    def _read_moves(self) -> list[Move]:
        try:
            return [Move(**move) for move in json.loads(self.path.read_text())["moves"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []  # nothing depends on it: it is history for people

    @property
    def last(self) -> Move | None:
        return self.moves[-1] if self.moves else None

    def moved(self, source: str, target: str, reason: str, gap_s: float) -> None:
        """Adds a move and writes the file; blocking."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.moves.append(Move(now, source, target, reason, round(1000 * gap_s)))
        del self.moves[:-_KEPT]
        self.write(target)

    def write(self, master: str) -> None:
        """Writes the file with the present master; blocking.

        Raises:
            OSError: it can't be written.
        """
        shard = self._shard
        content: dict[str, Any] = {
            "location": shard.location,
            "service": shard.service,
            "master": master,
            "nodes": {node.name: str(node.address) for node in shard.nodes},
            "series": [sensor.key for sensor in self._roster],
            "last_moved": self.last.at if self.last else None,
            "moves": [asdict(move) for move in self.moves],
        }
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(content, indent=2, ensure_ascii=False))
