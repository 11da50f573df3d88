"""Real servers for the tests: on free ports, in temporary folders, and gone when the tests are."""
