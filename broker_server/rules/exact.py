"""Sums that do not depend on their order: products stand on a grid, so that float64 adds them without rounding. Pure.

Axes: P values of a block, C labels, d width.
A product is a whole multiple of 2^-24 and a sum of them below 2^29, so it has at most 53 bits: float64 has it exactly,
whoever added what first. So shards, sites and one gateway come to the same bits. What could leave the grid does so by
rules that look at one contribution alone: products, weights and steps are cut to a limit, and a block whose sizes add
up to LIMIT is not moved at all. Rules: docs/algorithm.md, "Exact sums".
"""

from __future__ import annotations

import numpy as np

from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.grids import GRID, PRODUCT_LIMIT, STEPS_GRID, STEPS_LIMIT, WEIGHT_GRID, WEIGHT_LIMIT, Wide


def products_on_grid(products: Wide) -> Wide:
    """Put products on their grid, in place; half goes to even. Args: products: of one contribution, any shape."""
    np.clip(products, -PRODUCT_LIMIT, PRODUCT_LIMIT, out=products)
    np.multiply(products, GRID, out=products)
    np.rint(products, out=products)
    return np.multiply(products, 1.0 / GRID, out=products)


def weights_on_grid(weights: Wide) -> Wide:
    """Return weights on their grid. Args: weights: of one contribution, 0 or more."""
    return _on_grid(weights, WEIGHT_GRID, WEIGHT_LIMIT)


def steps_on_grid(weighted: Wide) -> Wide:
    """Return weights times steps on their grid. Args: weighted: of one contribution, 0 or more."""
    return _on_grid(weighted, STEPS_GRID, STEPS_LIMIT)


def _on_grid(values: Wide, grid: float, limit: float) -> Wide:
    result: Wide = np.rint(np.minimum(values, limit) * grid) / grid
    return result


def size_of(largest: float, weights: Wide, weighted_steps: Wide) -> float:
    """Return the size of a contribution to a block: while sizes add up to less than LIMIT, all its sums are exact.

    A weight counts a sixteenth, since its grid is as much coarser, and steps likewise. A size is on the grid of
    products, so sizes add up alike in any order, too.

    Args:
        largest: absolute value of its products.
        weights: [P] or [1], on their grid.
        weighted_steps: [P] or [1], on theirs.
    """
    return max(largest, float(weights.max()) * (WEIGHT_GRID / GRID), float(weighted_steps.max()) * (STEPS_GRID / GRID))


def class_sums_on_grid(part: ClassSums) -> ClassSums:
    """Return one device's class sums on the grid of weights, float64; of too many examples all are scaled alike."""
    counts, sums = part.counts.astype(np.float64), part.sums.astype(np.float64)
    factor = min(1.0, WEIGHT_LIMIT / max(1.0, float(counts.sum())))
    return ClassSums(
        np.rint(counts * factor * WEIGHT_GRID) / WEIGHT_GRID, np.rint(sums * factor * WEIGHT_GRID) / WEIGHT_GRID
    )
