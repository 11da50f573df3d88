"""What goes over the wire for each reading, made and read as bytes and arrays: the costs of all else are per batch."""
