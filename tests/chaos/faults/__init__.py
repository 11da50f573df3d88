"""The faults: one module for each kind of thing that they happen to."""

from tests.chaos.faults import (
    answers,
    archive,
    archivedata,
    broker,
    clock,
    config,
    daemon,
    data,
    identity,
    limits,
    links,
    log,
    nodes,
)
from tests.chaos.faults.base import FAULTS, Fault, lacks

__all__ = [
    "FAULTS",
    "Fault",
    "answers",
    "archive",
    "archivedata",
    "broker",
    "clock",
    "config",
    "daemon",
    "data",
    "identity",
    "lacks",
    "limits",
    "links",
    "log",
    "nodes",
]
