"""Class sums as integers under masks, and back. Pure; SPEC.md, "Rounds under masks".

What a device says is one vector: its C counts, then its [C, d] sums, label by label. A value v goes as v / s, rounded
half to even; s is a power of two and as small as the ring of 32 bits allows, so whole counts are exact, and so is all
that is added up. Axes: C labels, d width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.secure.fixed_point import Integers
from edge_runtime.wire.secure.ring import MOST_BITS, Ring

UNIT_ROUNDING: Final = 1e-3
"""How much longer than 1 a unit feature in float32 may be, as SPEC.md says of ClassStatistics; and how much a sum."""


def class_size(shape: BankShape) -> int:
    """Return how many integers a device says: C (d + 1)."""
    return shape.labels * (shape.width + 1)


@dataclass(frozen=True)
class ClassTerms:
    """How class sums become integers.

    Args:
        step: s, a power of two.
        examples: M, that those of one device count at most: what has more is scaled to it, counts and sums alike.
    """

    step: float
    examples: float

    @classmethod
    def of(cls, examples: float, devices: int) -> ClassTerms:
        """Return the finest terms whose sum over ``devices`` a ring of 32 bits holds. Args: examples: M, from 1 on."""
        ring, step = Ring(MOST_BITS), 1.0
        while not ring.holds(devices * math.ceil(examples / step)):
            step *= 2
        while ring.holds(devices * math.ceil(2 * examples / step)):
            step /= 2
        return cls(step, examples)

    @property
    def limit(self) -> int:
        """Integers are cut to its size."""
        return math.ceil(self.examples / self.step)

    def integers(self, sums: ClassSums | None, shape: BankShape) -> Integers:
        """Return what a device says, [C (d + 1)]; zeros where it has no example with a label.

        Args:
            sums: float32, of its data.
            shape: of the bank.

        Raises:
            SecureError: for NaN or infinity, counts below 0, or those of another shape.
        """
        if sums is None:
            return np.zeros(class_size(shape), np.int64)
        wide = np.concatenate([sums.counts, sums.sums.reshape(-1)]).astype(np.float64)
        if sums.counts.size != shape.labels or wide.size != class_size(shape):
            msg = f"class sums of {sums.counts.size} labels with {wide.size} values, expected {class_size(shape)}"
            raise SecureError(msg)
        if not np.isfinite(wide).all() or (wide[: shape.labels] < 0).any():
            msg = "class sums that are not finite, or of less than no examples"
            raise SecureError(msg)
        total = float(wide[: shape.labels].sum())
        scaled = wide if total <= self.examples else wide * (self.examples / total)
        return np.clip(np.rint(scaled / self.step), -self.limit, self.limit).astype(np.int64)

    def sums(self, total: Integers, shape: BankShape, devices: int) -> ClassSums:
        """Return what integers of devices add up to, float64, exact.

        Args:
            total: sum of all devices' integers, [C (d + 1)].
            shape: of the bank.
            devices: whose integers are in it.

        Raises:
            SecureError: when so many honest devices cannot add up to it, or have no example at all: a device lied, or a
                mask is left.
        """
        wide = total.astype(np.float64) * self.step
        counts, sums = wide[: shape.labels], wide[shape.labels :].reshape(shape.labels, shape.width)
        rounding = devices * self.step / 2
        if (counts < 0).any() or counts.sum() > devices * self.examples * (1 + UNIT_ROUNDING) + shape.labels * rounding:
            msg = f"{devices} devices of {self.examples:.6g} examples at most cannot count {counts.sum():.6g}"
            raise SecureError(msg)
        if not counts.any():
            msg = f"{devices} devices have no example with a label"
            raise SecureError(msg)
        longest = counts * (1 + UNIT_ROUNDING) + UNIT_ROUNDING * devices + rounding * (math.sqrt(shape.width) + 1)
        if (np.sqrt(np.square(sums).sum(axis=1)) > longest).any():
            msg = "a class sum is longer than its count of unit features allows"
            raise SecureError(msg)
        return ClassSums(counts, sums)
