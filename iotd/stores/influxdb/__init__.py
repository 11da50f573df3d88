"""InfluxDB 2, and whatever else takes line protocol at ``/api/v2/write`` and answers Flux."""
