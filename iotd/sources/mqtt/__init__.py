"""Readings over MQTT 3.1.1 and 5: a PUBACK means that it is on disk."""
