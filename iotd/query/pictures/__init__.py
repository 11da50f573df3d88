"""Readings as pictures: a chart in the terminal, a PNG for a report."""
