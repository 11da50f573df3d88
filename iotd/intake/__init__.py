"""Where readings come in: guarded, their series catalogued, gathered into batches, and handed to the log."""
