"""Several daemons and several hosts; run in the lab of :mod:`tests.chaos.lab`."""
