"""What a probe of a shard makes of the answers."""

from __future__ import annotations

import pytest

from iotd.shards.probe import NodeView, ShardView


def node(name: str, role: str | None, *, problem: str | None = None, lag: int | None = None) -> NodeView:
    return NodeView(name, "127.0.0.1:1", role, problem, lag, None, None)


MASTER = node("a", "master")


@pytest.mark.parametrize(
    ("master", "nodes", "whole"),
    [
        ("a", [MASTER, node("b", "slave", lag=0)], True),
        ("b", [node("a", "slave", lag=12), node("b", "master")], True),  # whichever of them is master
        ("a", [MASTER], True),  # a shard of one
        (None, [MASTER, node("b", "slave", lag=0)], False),
        ("a", [MASTER, node("b", None, problem="connection refused")], False),
        ("a", [MASTER, node("b", "master")], False),  # not told yet that it is no longer
        ("a", [MASTER, node("b", "slave", problem="link to its master: sync", lag=0)], False),
        ("a", [MASTER, node("b", "slave")], False),  # its master does not know it
    ],
)
def test_a_shard_is_whole_with_a_master_that_all_others_follow_in_sync(
    master: str | None, nodes: list[NodeView], whole: bool
) -> None:
    assert ShardView("salon", master, nodes, {}).whole is whole
