"""Topics of MQTT as the configuration names them: filters, patterns with places in them, queries into payloads."""
