"""Readings over HTTP: the InfluxDB write API as a server, JSON for scripts, and what devices post by themselves."""
