"""Sums under masks, per circle of experts: what a device sends hides its delta, and the sum of all is exact. Pure.

Bonawitz et al., CCS 2017, with few neighbours each (Bell et al., CCS 2020). Rules: SPEC.md, "Sums under masks"; why:
docs/decisions/0050-sums-under-masks.md. ``member`` is the device's part, ``opening`` the gateway's; the rest is what
both compute alike.
"""
