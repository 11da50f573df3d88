"""Who is master: the rule, as a pure function of what the Sentinels say and what the nodes themselves say.

Sentinel is the authority, by majority, so that one that lies or lags decides nothing; a node is believed only while
its own ROLE says master. The one liberty: when the master is in trouble and a replica has turned into a master, it is
written to at once: Sentinel publishes it only once the old master is demoted or has been given up, up to a second
later. But nothing counts as durable there (``settled``) until a majority of Sentinels names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from iotd.config.values import Address

NodeRole = Literal["master", "slave"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What one Sentinel says: where the master is, and of which configuration epoch that is."""

    address: Address
    epoch: int


@dataclass(frozen=True, slots=True)
class Belief:
    """The node to write to.

    Attributes:
        address: where it is.
        epoch: of the Sentinels' configuration that made it master; a guess of the next one while unsettled.
        settled: a majority of the Sentinels names it, or no Sentinel contradicts; only then does anything count as
            durable.
    """

    address: Address
    epoch: int
    settled: bool


def majority(claims: Collection[Claim], sentinels: int) -> Claim | None:
    """What more than half of all Sentinels (answering or not) agree on, with the lowest epoch among those who do."""
    if not claims:
        return None
    ((address, votes),) = Counter(t.address for t in claims).most_common(1)
    if votes <= sentinels // 2:
        return None
    return Claim(address, min(t.epoch for t in claims if t.address == address))


def elect(
    current: Belief | None,
    claims: Collection[Claim],
    sentinels: int,
    roles: Mapping[Address, NodeRole | None],
    were_slaves: Collection[Address],
    *,
    strangers: int = 0,
) -> Belief | None:
    """The node to write to now; None when there is none that may be believed.

    Args:
        current: what was believed until now.
        claims: of the Sentinels that answered lately.
        sentinels: how many Sentinels there are.
        roles: of every node that is known, as it said itself lately; None when it did not answer.
        were_slaves: nodes that were seen as replicas while ``current`` was master: only such a one can have been
            promoted; a node that comes back still believing it is master was not among them.
        strangers: Sentinels that answered lately, and watch no master of this name: they contradict whoever names one.
    """
    if strangers > sentinels // 2:
        # they are another shard's, or have forgotten ours: nothing counts as durable, and nobody is believed anew
        keeps = current is not None and roles.get(current.address) == "master"
        return Belief(current.address, current.epoch, False) if current is not None and keeps else None
    choice = majority(claims, sentinels)
    if current is not None and roles.get(current.address) == "master":
        if choice is None:
            return current
        if choice.address == current.address:
            return Belief(current.address, max(choice.epoch, current.epoch if not current.settled else 0), True)
        if choice.epoch > current.epoch and roles.get(choice.address) == "master":
            return Belief(choice.address, choice.epoch, True)
        return Belief(current.address, current.epoch, False)

    if choice is not None and roles.get(choice.address) == "master":
        return Belief(choice.address, choice.epoch, True)

    masters = [address for address, role in roles.items() if role == "master"]
    if current is not None:
        promoted = [address for address in masters if address in were_slaves and address != current.address]
        if len(promoted) == 1:
            epoch = max(choice.epoch if choice else 0, current.epoch) + 1
            return Belief(promoted[0], epoch, False)
        # silence alone does not depose it: the connection to it may still live, and nobody else may be written to
        return current if roles.get(current.address) is None else None

    if not claims and not strangers and len(masters) == 1 and None not in roles.values():
        return Belief(masters[0], 0, True)
    return None
