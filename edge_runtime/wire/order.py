"""The order in which a plan's seed leads through a device's examples: the same in every language."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_MASK: Final = (1 << 64) - 1


def epoch_order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """Return the places 0 to count - 1 in the order of an epoch, int64 [count].

    Args:
        seed: 64 bits, of the plan.
        epoch: counted from 0 in each plan.
        count: N examples.

    Place i has the key splitmix64(splitmix64(seed) + splitmix64(epoch) + i) modulo 2^64 (Steele, Lea and Flood 2014);
    keys ascend as unsigned numbers, equal ones, next to impossible, by place.
    """
    start = (int(_mix(np.array([seed & _MASK], np.uint64))[0]) + int(_mix(np.array([epoch], np.uint64))[0])) & _MASK
    return np.argsort(_mix(np.uint64(start) + np.arange(count, dtype=np.uint64)), kind="stable").astype(np.int64)


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    mixed = state + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
