"""iotd carries the sensor readings of a building into sharded Redis and a verified archive."""

__version__ = "0.1.0"
