"""The simulated building: sensors whose every reading is a pure function of seed, sensor and time."""
