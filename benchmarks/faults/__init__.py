"""Faults on purpose, thousands of them, and what is left after each: ``python -m benchmarks.faults``."""
