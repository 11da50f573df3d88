"""Who is master: the rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotd.config.values import Address
from iotd.shards.election import Belief, Claim, NodeRole, elect, majority

A, B, C = (Address("127.0.0.1", port) for port in (7001, 7002, 7003))
ON_A = Belief(A, 5, True)


def says(*addresses: Address, epoch: int = 5) -> list[Claim]:
    return [Claim(address, epoch) for address in addresses]


def test_the_majority_and_the_nodes_own_word_make_a_master() -> None:
    assert elect(None, says(A, A, A), 3, {A: "master", B: "slave"}, ()) == ON_A


def test_one_sentinel_that_lies_decides_nothing_whatever_its_epoch() -> None:
    lie = [*says(A, A), Claim(B, 999)]
    assert elect(ON_A, lie, 3, {A: "master", B: "master"}, ()) == ON_A
    assert elect(None, lie, 3, {A: "master", B: "master"}, ()) == ON_A


def test_a_majority_is_not_believed_while_the_node_says_it_is_a_replica() -> None:
    assert elect(None, says(A, A, A), 3, {A: "slave", B: "slave"}, ()) is None


def test_one_sentinel_of_three_is_no_majority() -> None:
    assert majority(says(A), 3) is None
    assert majority(says(A, A), 3) == Claim(A, 5)


def test_a_promoted_replica_is_written_to_before_sentinel_says_so_but_nothing_is_confirmed_there() -> None:
    belief = elect(ON_A, says(A, A, A), 3, {A: None, B: "master"}, {B})
    assert belief == Belief(B, 6, settled=False)


def test_it_is_settled_once_the_majority_names_it() -> None:
    unsettled = Belief(B, 6, False)
    assert elect(unsettled, says(B, A, A), 3, {A: None, B: "master"}, ()) == unsettled
    now = [*says(B, B, epoch=6), Claim(A, 5)]
    assert elect(unsettled, now, 3, {A: None, B: "master"}, ()) == Belief(B, 6, True)


def test_the_old_master_that_comes_back_as_master_gets_nothing() -> None:
    unsettled = Belief(B, 6, False)
    roles: dict[Address, NodeRole | None] = {A: "master", B: "master"}
    assert elect(unsettled, says(A, A, A), 3, roles, ()) == unsettled
    assert elect(Belief(B, 6, True), says(B, B, B, epoch=6), 3, roles, ()) == Belief(B, 6, True)


def test_a_node_that_was_no_replica_of_this_master_is_not_taken_for_promoted() -> None:
    assert elect(ON_A, says(A, A, A), 3, {A: None, B: "master"}, ()) == ON_A


def test_an_aborted_failover_goes_back_when_the_promoted_one_is_a_replica_again() -> None:
    unsettled = Belief(B, 6, False)
    assert elect(unsettled, says(A, A, A), 3, {A: "master", B: "slave"}, ()) == Belief(A, 5, True)


def test_a_newer_configuration_wins_over_a_node_that_still_calls_itself_master() -> None:
    assert elect(ON_A, says(B, B, B, epoch=6), 3, {A: "master", B: "master"}, ()) == Belief(B, 6, True)


def test_with_all_sentinels_gone_the_master_is_kept() -> None:
    assert elect(ON_A, [], 3, {A: "master", B: "slave"}, ()) == ON_A
    assert elect(ON_A, [], 3, {A: None, B: "slave"}, ()) == ON_A


def test_with_all_sentinels_gone_at_the_start_the_only_master_is_taken() -> None:
    assert elect(None, [], 3, {A: "master", B: "slave"}, ()) == Belief(A, 0, True)
    assert elect(None, [], 3, {A: "master", B: "master"}, ()) is None
    assert elect(None, [], 3, {A: "master", B: None}, ()) is None


def test_a_master_that_says_it_is_a_replica_is_no_longer_written_to() -> None:
    assert elect(ON_A, says(A, A, A), 3, {A: "slave", B: "slave"}, {B}) is None


roles = st.sampled_from(["master", "slave", None])
addresses = st.sampled_from([A, B, C])


@given(
    current=st.none() | st.builds(Belief, addresses, st.integers(0, 9), st.booleans()),
    claims=st.lists(st.builds(Claim, addresses, st.integers(0, 9)), max_size=3),
    said=st.fixed_dictionaries({A: roles, B: roles, C: roles}),
    slaves=st.sets(addresses),
)
def test_a_node_is_never_newly_believed_against_its_own_word(
    current: Belief | None,
    claims: list[Claim],
    said: dict[Address, NodeRole | None],
    slaves: set[Address],
) -> None:
    belief = elect(current, claims, 3, said, slaves)
    if belief is None:
        return
    if current is None or belief.address != current.address:
        assert said[belief.address] == "master"
    assert said[belief.address] != "slave"
    if belief.settled and (current is None or belief != current) and claims:
        choice = majority(claims, 3)
        assert choice is not None
        assert choice.address == belief.address


def test_the_answer_is_stable_when_nothing_changes() -> None:
    cases: list[tuple[list[Claim], dict[Address, NodeRole | None]]] = [
        (says(A, A, A), {A: "master", B: "slave"}),
        ([], {A: "master", B: "slave"}),
        (says(A, B, B, epoch=6), {A: None, B: "master"}),
    ]
    for claims, said in cases:
        once = elect(ON_A, claims, 3, said, {B})
        assert elect(once, claims, 3, said, ()) == once


@pytest.mark.parametrize("votes", [[A, B, C], [A, B], []])
def test_without_agreement_nobody_is_elected(votes: list[Address]) -> None:
    assert majority(says(*votes), 3) is None
