"""Where the archive is kept: one contract (:mod:`iotd.archive.sinks.base`), two stores."""
