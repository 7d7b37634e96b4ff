"""Noise that devices add before masking: discrete Gaussian, so that a sum of integers stays one.

P[x] is proportional to exp(-x^2 / (2 sigma^2)) at integers x (Canonne, Kamath and Steinke, arXiv 2004.00010). A sum of
it over devices is nearly of that kind, and what it promises is bounded by Kairouz, Liu and Steinke (arXiv 2102.06387,
theorem 1). Drawn by inversion from 64 random bits a value: within 2^-50 of the distribution.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.secure.fixed_point import Integers
from edge_runtime.wire.secure.ring import Ring

TAIL: Final = 12.0
"""Standard deviations beyond which nothing is drawn: exp(-72)."""
MOST_DEVIATION: Final = 65_536.0
LEAST_DEVIATION: Final = 0.5
"""The theorem on sums holds from there."""


def noise(seed: bytes, deviation: float, count: int) -> Integers:
    """Return ``count`` integers of noise.

    Args:
        seed: 32 secret bytes, for this noise alone.
        deviation: sigma.
        count: how many.

    Raises:
        SecureError: for a deviation below 0.5, or above 65,536.
    """
    table = _table(deviation)
    words = Ring(32).words(np.zeros(2 * count, np.int64))
    Ring(32).add_mask(words, seed)
    places = np.searchsorted(table, words.view("<u8"), side="right")
    return places.astype(np.int64) - len(table) // 2


@lru_cache(4)
def _table(deviation: float) -> npt.NDArray[np.uint64]:
    """Return 2^64 P[X <= x] for all x but the largest, ascending."""
    if not LEAST_DEVIATION <= deviation <= MOST_DEVIATION:
        msg = f"noise of deviation {deviation:g}, expected {LEAST_DEVIATION:g} to {MOST_DEVIATION:g}"
        raise SecureError(msg)
    reach = math.ceil(TAIL * deviation)
    # Whole numbers: a float has no room for the sum of what is likely and what is not.
    weights = [int(math.ldexp(math.exp(-0.5 * (x / deviation) ** 2), 140)) for x in range(-reach, reach + 1)]
    total, below, table = sum(weights), 0, []
    for weight in weights[:-1]:
        below += weight
        table.append(min(2**64 - 1, (below << 64) // total))
    return np.array(table, np.uint64)


def multiplier(noise_multiplier: float, deviation: float, least: int, values: int) -> float:
    """Return the noise multiplier of the Gaussian release that a sum under masks is no worse than.

    The release is eps^2/2-concentrated with eps^2 = 1/z^2 + tau D/2 and tau = 10 sum_j exp(-2 pi^2 sigma^2 j/(j+1)), j
    from 1 to least - 1; a Gaussian of multiplier 1/eps is so, too.

    Args:
        noise_multiplier: z, of the least noise that a sum has.
        deviation: sigma, of one device's noise.
        least: devices whose noise is in every sum.
        values: D.
    """
    tau = 10 * math.fsum(math.exp(-2 * (math.pi * deviation) ** 2 * j / (j + 1)) for j in range(1, least))
    return 1 / math.sqrt(1 / noise_multiplier**2 + tau * values / 2)
