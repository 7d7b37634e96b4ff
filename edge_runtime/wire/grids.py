"""Grids of numbers that float64 adds without rounding, in any order (SPEC.md, "Sites").

A whole multiple of 2^-24 below 2^29 has at most 53 bits, and so has a sum of such numbers below it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError

Wide = npt.NDArray[np.float64]
GRID: Final = 2.0**24
"""Products of weight and value are whole multiples of 1 / GRID."""
WEIGHT_GRID: Final = 2.0**20
"""Of weights, and of class sums."""
STEPS_GRID: Final = 2.0**8
"""Of weights times steps."""
LIMIT: Final = 2.0**29
"""Sizes that add up to less leave every sum exact."""
PRODUCT_LIMIT: Final = 2.0**13
"""The largest product that counts: 20,000 examples that moved a value by 0.4."""
WEIGHT_LIMIT: Final = 2.0**17
STEPS_LIMIT: Final = 2.0**29


def read(data: bytes, count: int, grid: float) -> Wide:
    """Read sums, float64 [count], a view.

    Args:
        data: little-endian float64.
        count: how many they are.
        grid: that they stand on: multiples of 1 / grid, below 2^53 of them.

    Raises:
        WireError: WRONG_SIZE, NOT_FINITE, or MALFORMED for a number beside the grid.
    """
    if len(data) != 8 * count:
        raise WireError(pb.WRONG_SIZE, f"{len(data)} bytes of sums, expected {8 * count} for {count} values")
    values = np.frombuffer(data, "<f8").astype(np.float64, copy=False)
    if not np.isfinite(values).all():
        raise WireError(pb.NOT_FINITE, f"{int((~np.isfinite(values)).sum())} of {count} sums are NaN or infinite")
    with np.errstate(over="ignore"):
        units = values * grid
    if not ((np.rint(units) == units) & (np.abs(units) < 2.0**53)).all():
        raise WireError(pb.MALFORMED, f"a sum is no whole multiple of 2^-{int(np.log2(grid))} below its limit")
    return values


def write(values: Wide) -> bytes:
    """Return sums as they travel: little-endian float64."""
    return np.ascontiguousarray(values, "<f8").tobytes()
