"""What is measured: sensor types, series, batches of readings, and the errors that all parts share."""
