"""What a broker and its publishers lose, found by experiment."""
