"""How messages are read: a pure module for each kind of devices; what they share is in ``base``."""
