"""The embedded archive: SQLite in the state directory, for a machine without InfluxDB."""
