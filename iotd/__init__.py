"""iotd carries the sensor readings of a building into sharded Redis and a verified archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iotd.query.system import ShardingSystem

__version__ = "0.2.0"
__all__ = ["ShardingSystem", "__version__"]


def __getattr__(name: str) -> Any:
    # on demand: the library brings numpy and both databases' clients, and `iotd --help` needs none of them
    if name == "ShardingSystem":
        from iotd.query.system import ShardingSystem  # noqa: PLC0415

        return ShardingSystem
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
