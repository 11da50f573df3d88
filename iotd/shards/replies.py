"""Every element of every reply to TS.MADD, and what it says of its reading."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from iotd.config.values import Address
from iotd.model.errors import ShardError
from iotd.shards.connection import shard_error
from iotd.shards.madd import Commands

_NO_SERIES = ("key does not exist", "not a TSDB key")
"""TS.MADD says the second of a key that is not there, too (seen with RedisTimeSeries 1.12.2)."""
_EXPIRED = "older than retention"


@dataclass(slots=True)
class Findings:
    """What the replies to some commands say, when not all is well; readings are named by their place in the commands.

    Attributes:
        missing: readings whose series does not exist, or whose key is something else.
        expired: readings older than the shard keeps: the archive takes them from the log.
        refused: readings that this Redis will never take, with its words.
    """

    missing: list[int] = field(default_factory=list)
    expired: list[int] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)


def all_good(replies: Iterable[Any]) -> bool:
    """Whether each element of each reply is the time of a sample that was stored; at the speed of C."""
    return all(type(reply) is list and set(map(type, reply)) == {int} for reply in replies)


def examine(commands: Commands, replies: list[Any], address: Address) -> Findings:
    """What became of each reading, from one reply per command that are not :func:`all_good`.

    Raises:
        NotMaster: the node does not take writes any longer.
        ShardUnavailable: it can't take them now (out of memory, loading, no good replicas).
        ShardMisconfigured: it will not until someone changes it (rights, no TimeSeries).
        ShardError: the replies are not what TS.MADD gives.
    """
    findings = Findings()
    for span, reply in zip(commands.spans(), replies, strict=True):
        if isinstance(reply, BaseException):
            # the whole command failed; a plain error of it (not OOM, READONLY, …) is one for each of its readings
            _sort(findings, list(span), reply, address)
            continue
        if not isinstance(reply, list) or len(reply) != len(span):
            raise ShardError(f"{address}: TS.MADD of {len(span)} readings gave {reply!r:.100}")
        for place, said in zip(span, reply, strict=True):
            if isinstance(said, BaseException):
                _sort(findings, [place], said, address)
    return findings


def _sort(findings: Findings, places: list[int], said: BaseException, address: Address) -> None:
    text = str(said)
    if any(mark in text for mark in _NO_SERIES):
        findings.missing += places
    elif _EXPIRED in text:
        findings.expired += places
    else:
        error = shard_error(said, f"{address}: TS.MADD")
        if type(error) is not ShardError:
            raise error
        findings.refused += [(place, text) for place in places]
