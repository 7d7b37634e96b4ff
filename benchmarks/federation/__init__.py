"""A simulator of federations: many clients trained at once, by the product's own planner, merging and codecs.

``python -m benchmarks.federation run benchmarks/federation/experiments/grid.toml``
"""
