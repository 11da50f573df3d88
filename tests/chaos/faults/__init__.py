"""The faults: one module for each kind of thing that they happen to."""

from tests.chaos.faults import answers, archive, daemon, data, links, log, nodes
from tests.chaos.faults.base import FAULTS, Fault

__all__ = ["FAULTS", "Fault", "answers", "archive", "daemon", "data", "links", "log", "nodes"]
