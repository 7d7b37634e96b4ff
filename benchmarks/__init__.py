"""Measurements and the demo: what the product does, in figures that a command prints."""
