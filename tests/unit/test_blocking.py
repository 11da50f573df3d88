"""The blocking system is the asynchronous one: every method, its parameters, and what help() says of it."""

from __future__ import annotations

import inspect

import pytest

from iotd.query.blocking import BlockingShardingSystem
from iotd.query.system import ShardingSystem

METHODS = [name for name, _ in inspect.getmembers(ShardingSystem, inspect.isfunction) if name[0] != "_"]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "close"])
def test_help_shows_the_parameters_and_the_text_of_the_asynchronous_method(name: str) -> None:
    asynchronous, blocking = getattr(ShardingSystem, name), getattr(BlockingShardingSystem, name)
    said, wanted = inspect.signature(blocking), inspect.signature(asynchronous)
    assert said.parameters == wanted.parameters
    assert said.return_annotation == wanted.return_annotation.removeprefix("Async")
    assert inspect.getdoc(blocking) == inspect.getdoc(asynchronous)
    assert not inspect.iscoroutinefunction(blocking)
