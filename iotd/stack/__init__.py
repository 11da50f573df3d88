"""The servers that iotd needs, started for you."""

from iotd.stack.stack import NodeReport, NodeStatus, Stack

__all__ = ["NodeReport", "NodeStatus", "Stack"]
