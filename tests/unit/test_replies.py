"""What each reply of a shard means, and that none is passed over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import redis.exceptions as rx

from iotd.config.values import Address
from iotd.model.errors import IotdError, NotMaster, ShardError, ShardMisconfigured, ShardUnavailable
from iotd.shards.connection import shard_error
from iotd.shards.madd import ELEMENTS, Packer
from iotd.shards.replies import all_good, examine

HERE = Address("127.0.0.1", 1)
COUNT = ELEMENTS + 4
PACKED = Packer([b"sensor:temperature:salon:1", b"sensor:temperature:salon:2"]).pack(
    np.array([i % 2 for i in range(COUNT)], np.int32),
    np.arange(1000, 1000 + COUNT, dtype=np.int64),
    np.arange(COUNT, dtype=np.float64),
)


def replies(**wrong: Any) -> list[Any]:
    """Good replies to the two commands of the batch, but for those given by index (``at_3=error``)."""
    flat: list[Any] = list(range(COUNT))
    for name, error in wrong.items():
        flat[int(name.removeprefix("at_"))] = error
    return [flat[:ELEMENTS], flat[ELEMENTS:]]


def test_only_times_are_good() -> None:
    assert all_good(replies())
    assert not all_good(replies(at_0=rx.ResponseError("TSDB: the key does not exist")))
    assert not all_good(replies(at_259=rx.ResponseError("anything")))
    assert not all_good([rx.ResponseError("OOM"), [1]])


def test_each_element_that_lacks_its_series_is_found_by_its_place() -> None:
    missing = rx.ResponseError("TSDB: the key is not a TSDB key")
    found = examine(PACKED, replies(at_1=missing, at_258=missing), HERE)
    assert (found.missing, found.expired, found.refused) == ([1, 258], [], [])


def test_a_reading_older_than_the_shard_keeps_is_expired_and_not_refused() -> None:
    found = examine(PACKED, replies(at_7=rx.ResponseError("TSDB: Timestamp is older than retention")), HERE)
    assert (found.missing, found.expired, found.refused) == ([], [7], [])


def test_what_is_refused_for_good_comes_with_the_words_of_redis() -> None:
    found = examine(PACKED, replies(at_257=rx.ResponseError("TSDB: invalid timestamp")), HERE)
    assert found.refused == [(257, "TSDB: invalid timestamp")]


@pytest.mark.parametrize("reply", [[1, 2], b"OK", None, 5])
def test_a_reply_that_is_not_one_of_ts_madd_is_an_error(reply: Any) -> None:
    with pytest.raises(ShardError):
        examine(PACKED, [replies()[0], reply], HERE)


def test_a_whole_command_that_is_refused_for_good_is_one_refusal_for_each_reading() -> None:
    found = examine(PACKED, [rx.ResponseError("wrong number of arguments"), replies()[1]], HERE)
    assert [place for place, _ in found.refused] == list(range(ELEMENTS))


CASES: list[tuple[Exception, type[IotdError]]] = [
    (rx.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), ShardUnavailable),
    (rx.ResponseError("OOM command not allowed when used memory > 'maxmemory'."), ShardUnavailable),
    (rx.BusyLoadingError("Redis is loading the dataset in memory"), ShardUnavailable),
    (rx.ResponseError("NOREPLICAS Not enough good replicas to write."), ShardUnavailable),
    (rx.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), ShardUnavailable),
    (rx.ConnectionError("Connection closed by server."), ShardUnavailable),
    (ConnectionResetError(), ShardUnavailable),
    (TimeoutError(), ShardUnavailable),
    (rx.ReadOnlyError("You can't write against a read only replica."), NotMaster),
    (rx.ResponseError("READONLY You can't write against a read only replica."), NotMaster),
    (rx.ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"), NotMaster),
    (rx.AuthenticationError("invalid username-password pair or user is disabled."), ShardMisconfigured),
    (rx.NoPermissionError("this user has no permissions to run the 'ts.madd' command"), ShardMisconfigured),
    (rx.ResponseError("unknown command 'TS.MADD', with args beginning with: 'x'"), ShardMisconfigured),
    (rx.ResponseError("TSDB: invalid timestamp"), ShardError),
]


@pytest.mark.parametrize(("error", "leaf"), CASES, ids=lambda case: str(case)[:30])
def test_each_error_has_its_leaf_and_names_the_node(error: Exception, leaf: type[IotdError]) -> None:
    told = shard_error(error, f"{HERE}: TS.MADD")
    assert type(told) is leaf
    assert str(told).startswith("127.0.0.1:1: TS.MADD: ")
    assert len(str(told)) > len("127.0.0.1:1: TS.MADD: ")
    assert told.retriable
    assert told.rediscover == (leaf is NotMaster)


@pytest.mark.parametrize(("error", "leaf"), [case for case in CASES if case[1] is not ShardError])
def test_an_error_that_passes_is_raised_wherever_it_stands(error: Exception, leaf: type[IotdError]) -> None:
    with pytest.raises(leaf):
        examine(PACKED, replies(at_3=error), HERE)
    with pytest.raises(leaf):
        examine(PACKED, [error, replies()[1]], HERE)
