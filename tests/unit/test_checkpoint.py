"""What the value of a checkpoint proves; and what a node that was taken up has lost."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.config import Settings
from iotd.config.topology import topology
from iotd.log.base import Log
from iotd.ops.backoff import Backoff
from iotd.shards.checkpoint import Found, checkpoint_key, proven
from iotd.shards.failovers import Failover, ShardingMetadata


class OneEpoch:
    """A log of the epoch ``3-aa`` whose partitions end at 100."""

    def position_of(self, partition: str, epoch: str, sequence: int) -> int | None:
        return min(sequence, 100) if epoch == "3-aa" else None


LOG = cast(Log, OneEpoch())


@pytest.mark.parametrize(
    ("value", "position"),
    [(None, None), (b"3-aa:42", 42), (b"3-aa:0", 0), (b"3-aa:200", 100), (b"4-bb:42", None), (b"42", None)],
)
def test_only_a_known_epoch_proves_anything(value: bytes | None, position: int | None) -> None:
    assert proven(LOG, "salon", value) == Found(value, position)


@given(st.binary())
def test_no_bytes_are_too_strange(value: bytes) -> None:
    assert proven(LOG, "salon", value).position in (None, *range(101))


@pytest.mark.parametrize("value", ["3-aa:-1", "3-aa:", "3-aa:١", "3-aa: 5", "3-aa:5 ", ":5"])
def test_a_sequence_is_plain_digits(value: str) -> None:
    assert proven(LOG, "salon", value.encode()).position is None


def test_the_key_names_log_and_location() -> None:
    assert checkpoint_key("b1", "salon") == "iotd:checkpoint:b1:salon"


def test_pauses_grow_from_none_to_the_longest_and_begin_again() -> None:
    backoff = Backoff(0.1, 2.0, free=1)
    pauses = [backoff.next() for _ in range(40)]
    assert pauses[0] == 0.0
    assert 0.05 <= pauses[1] <= 0.1
    assert all(1.0 <= pause <= 2.0 for pause in pauses[7:])
    backoff.reset()
    assert backoff.next() == 0.0


def test_failovers_are_remembered_and_those_of_an_older_file_too(tmp_path: Path) -> None:
    shard = topology(Settings()).shard("salon")
    path = tmp_path / "sharding_metadata" / "salon.json"
    path.parent.mkdir()
    old = '{"at": "2026-01-01T00:00:00.000+00:00", "source": "a", "target": "b", "reason": "r", "gap_ms": 5}'
    path.write_text(f'{{"moves": [{old}]}}')
    metadata = ShardingMetadata(tmp_path, shard, lambda: ["k"], "aa")
    metadata.failed_over("b", "a", "killed", 1.5)
    again = ShardingMetadata(tmp_path, shard, list, "aa")
    assert again.failovers == metadata.failovers
    assert again.failovers[0] == Failover("2026-01-01T00:00:00.000+00:00", "a", "b", "r", 5)
    assert again.last is not None
    assert (again.last.target, again.last.gap_ms) == ("a", 1500)
    path.write_text("[1]")
    assert ShardingMetadata(tmp_path, shard, list, "aa").failovers == []
