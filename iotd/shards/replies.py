"""Looking at every element of every reply to TS.MADD."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from iotd.config.values import Address
from iotd.model.errors import ShardError
from iotd.shards.connection import shard_error
from iotd.wire.commands import Element, Packed, elements

_NO_SERIES = ("key does not exist", "not a TSDB key")
"""TS.MADD says the second of a key that is not there, too (seen with RedisTimeSeries 1.12.2)."""


@dataclass(slots=True)
class Findings:
    """What a batch's replies say, when not all is well.

    Attributes:
        missing: readings whose series does not exist, or whose key is something else.
        refused: readings that this Redis will never take, with its words.
    """

    missing: list[Element] = field(default_factory=list)
    refused: list[tuple[Element, str]] = field(default_factory=list)


def all_good(replies: Iterable[Any]) -> bool:
    """Whether each element of each reply is the time of a sample that was stored; at the speed of C."""
    return all(type(reply) is list and set(map(type, reply)) == {int} for reply in replies)


def examine(packed: Packed, replies: list[Any], address: Address) -> Findings:
    """What became of each reading of a batch whose replies are not :func:`all_good`.

    Raises:
        NotMaster: the node does not take writes any longer.
        ShardUnavailable: it can't take them now (out of memory, loading, no good replicas).
        ShardMisconfigured: it will not until someone changes it (rights, no TimeSeries).
    """
    return sort_out(elements(packed.payload), replies, address)


def sort_out(commands: Iterable[list[Element]], replies: list[Any], address: Address) -> Findings:
    """As :func:`examine`, for commands whose elements are known; one reply per command."""
    findings = Findings()
    for command, reply in zip(commands, replies, strict=True):
        if isinstance(reply, BaseException):
            # the whole command failed; a plain error of it (not OOM, READONLY, …) is one for each of its readings
            error = shard_error(reply, f"{address}: TS.MADD")
            if type(error) is not ShardError:
                raise error
            findings.refused.extend((element, str(reply)) for element in command)
            continue
        for element, said in zip(command, reply, strict=True):
            if not isinstance(said, BaseException):
                continue
            text = str(said)
            if any(mark in text for mark in _NO_SERIES):
                findings.missing.append(element)
                continue
            error = shard_error(said, f"{address}: TS.MADD {element.key}")
            if type(error) is not ShardError:
                raise error
            findings.refused.append((element, text))
    return findings
