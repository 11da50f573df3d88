"""Benchmarks: each case beside its limit and its peers."""

import signal

# whoever ends a benchmark ends its servers and its worktrees too: they go when the contexts are left
signal.signal(signal.SIGTERM, signal.default_int_handler)
