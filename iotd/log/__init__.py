"""The durable log: every reading is in it before it is acknowledged, and until the archive provably has it."""
