"""MQTT in a chaos run: the broker, the witness between it and iotd, and what must have become of each message."""
