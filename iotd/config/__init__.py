"""The settings: one tree, read from TOML, environment and secret files, checked as a whole.

The modules import one way: values → tree → topology → check → load → diff.
"""

from iotd.config.load import Settings, find_config, load
from iotd.config.tree import Tree
from iotd.config.values import Address, Duration

__all__ = ["Address", "Duration", "Settings", "Tree", "find_config", "load"]
