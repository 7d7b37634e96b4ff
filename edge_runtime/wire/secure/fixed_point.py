"""Values of a delta as integers that mean the same for all devices, and back.

A value v of a device of weight w goes as y = v w / (W s), rounded half to even and cut to the limit: s is the step that
the plan names for the kind of block, W the largest weight. The mean of all is then s W sum(y) / sum(w), exact but for
each device's rounding, which goes into its next delta of the block. All is float64; axes: P values of a block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.tensors import Array

Integers = npt.NDArray[np.int64]
Wide = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """How a device's values become integers.

    Args:
        step: s, above 0.
        limit: R, of an integer's size.
        weight: w of the device, 1 or more.
        most_weight: W, of any device.

    Raises:
        SecureError: for others.
    """

    step: float
    limit: int
    weight: int = 1
    most_weight: int = 1

    def __post_init__(self) -> None:
        if not (0 < self.step < math.inf and self.limit >= 1 and 1 <= self.weight <= self.most_weight):
            msg = f"a step above 0, a limit from 1 on and a weight from 1 to the largest are expected, got {self}"
            raise SecureError(msg)

    @property
    def _factor(self) -> float:
        return self.weight / (self.most_weight * self.step)

    def integers(self, values: Array) -> tuple[Integers, Array]:
        """Return integers [P], and what is left of the values, float32 [P].

        Raises:
            SecureError: for NaN or infinity.
        """
        wide = values.astype(np.float64)
        if not np.isfinite(wide).all():
            msg = f"{int((~np.isfinite(wide)).sum())} of {wide.size} values are NaN or infinite"
            raise SecureError(msg)
        rounded = np.clip(np.rint(wide * self._factor), -self.limit, self.limit)
        left = (wide - rounded / self._factor).astype(np.float32)
        return rounded.astype(np.int64), left

    def mean(self, total: Integers, weights: Integers) -> Wide:
        """Return the weighted mean, float64 [P]; 0 where nobody gave weight.

        Args:
            total: sum of all devices' integers, [P].
            weights: sum of their weights, [P] or [1].
        """
        scaled = total.astype(np.float64) * (self.step * self.most_weight)
        result: Wide = np.divide(scaled, weights, out=np.zeros_like(scaled), where=weights > 0)
        return result


def weight_of(examples: float, unit: float, most: int) -> int:
    """Return the weight of a device. Args: unit: examples that a weight of 1 stands for; most: W."""
    return max(1, min(most, math.floor(examples / unit + 0.5)))


def rows_of(weights: Integers, size: int) -> Integers:
    """Return the weight of each value of a head, [C d + C], from those of its rows, [C]. Args: size: C d + C."""
    width = size // weights.size - 1
    return np.concatenate([np.repeat(weights, width), weights])


def cut_whole(parts: Sequence[Wide], norm: int, limit: int) -> tuple[list[Integers], float]:
    """Return an update in integers whose norm over all parts is at most ``norm``, exactly, and what it was cut by.

    Rounding could make it longer than the values were, so it is the integers that are measured, and what is too long is
    shortened before it is rounded anew. All squares are below 2^63.

    Args:
        parts: values by block, in steps; finite.
        norm: B.
        limit: R, of an integer's size; up to 2^20.
    """
    most = norm * norm
    wide = [np.clip(part, -limit, limit) for part in parts]
    squares = sum(float(np.square(part).sum()) for part in wide)
    factor = 1.0 if squares <= most else math.sqrt(most / squares)
    while True:
        rounded = [np.rint(part * factor).astype(np.int64) for part in wide]
        length = sum(int(np.square(part).sum()) for part in rounded)
        if length <= most:
            return rounded, factor
        factor *= min(math.sqrt(most / length), 1 - 1e-6)
