"""Clients beside the daemon, processes of their own: one by HTTP, from a host of its own, and one in Python."""
