"""Health: one list of conditions that status, probes, page, metrics, alerts and runbook all follow."""
