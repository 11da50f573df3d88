"""iotd carries the sensor readings of a building into sharded Redis and a verified archive."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iotd.producer import Held, Producer
    from iotd.query.system import ShardingSystem

__version__ = "0.2.0"
__all__ = ["Held", "Producer", "ShardingSystem", "__version__"]

_FROM = {"Held": "iotd.producer", "Producer": "iotd.producer", "ShardingSystem": "iotd.query.system"}


def __getattr__(name: str) -> Any:
    # on demand: the library brings numpy and both databases' clients, and `iotd --help` needs none of them
    if name in _FROM:
        return getattr(import_module(_FROM[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
