"""The running service: what starts it, what its locations are made of, how it is reloaded and stopped."""
