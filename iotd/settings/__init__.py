"""The settings: one tree, read from TOML, environment and secret files, checked as a whole."""

from iotd.settings.load import Settings, find_config, load
from iotd.settings.tree import Tree
from iotd.settings.values import Address, Duration

__all__ = ["Address", "Duration", "Settings", "Tree", "find_config", "load"]
