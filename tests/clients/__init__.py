"""Real clients of InfluxDB, as they are, writing into a real daemon."""
