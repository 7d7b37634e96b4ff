"""Decisions without I/O: rounds, plans, admission, merging, balance, head."""
