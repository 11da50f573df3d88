"""Names, roles and ports of all servers, as the design has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.config import Address, Tree
from iotd.config.topology import topology
from iotd.model.errors import UsageError


def test_the_default_topology_is_the_one_of_the_design() -> None:
    shards = topology(Tree()).shards
    assert [(s.location, s.master.address.port, s.replica.address.port) for s in shards] == [
        ("salon", 6379, 6380),
        ("chambre1", 6381, 6382),
        ("chambre2", 6383, 6384),
        ("cuisine", 6385, 6386),
        ("salle_de_bain", 6387, 6388),
    ]
    assert [node.address.port for s in shards for node in s.sentinels] == list(range(26379, 26394))
    assert [node.name for node in shards[0].nodes] == [
        *("redis-salon-master", "redis-salon-replica"),
        *("sentinel-salon-1", "sentinel-salon-2", "sentinel-salon-3"),
    ]
    assert {node.address.host for node in topology(Tree()).nodes} == {"127.0.0.1"}
    assert topology(Tree()).influxdb.address.port == 8086


@given(st.integers(0, 39_000))
def test_the_offset_moves_every_port(offset: int) -> None:
    moved = topology(Tree.model_validate({"topology": {"port_offset": offset}}))
    for node, other in zip(topology(Tree()).nodes, moved.nodes, strict=True):
        assert (node.name, node.role) == (other.name, other.role)
        assert other.address.port == node.address.port + offset


def test_a_shard_may_be_elsewhere_and_named_otherwise() -> None:
    tree = Tree.model_validate(
        {
            "topology": {
                "port_offset": 1000,
                "shards": {
                    "cuisine": {"master": "10.0.0.1:7000", "sentinels": ["10.0.0.3:26379"], "service": "kitchen"}
                },
            }
        }
    )
    shard = topology(tree).shard("cuisine")
    assert shard.service == "kitchen"
    assert shard.master.address == Address("10.0.0.1", 7000)
    assert shard.replica.address == Address("127.0.0.1", 7386)
    assert [node.address for node in shard.sentinels] == [Address("10.0.0.3", 26379)]
    assert shard.name_of(Address("10.0.0.1", 7000)) == "redis-cuisine-master"
    assert shard.name_of(Address("10.0.0.9", 1)) == "10.0.0.9:1"


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    system = topology(Tree())
    with pytest.raises(UsageError, match="no location 'kitchen'; there are salon, chambre1"):
        system.shard("kitchen")
    with pytest.raises(UsageError, match=r"no node 'redis-salon-mastr'; there are for instance redis-salon-master"):
        system.node("redis-salon-mastr")
    with pytest.raises(UsageError, match="for instance redis-salon-master"):
        system.node("zzz")
