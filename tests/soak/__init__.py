"""A long life in a short time: simulated days with reloads and faults, and whether anything grows."""
