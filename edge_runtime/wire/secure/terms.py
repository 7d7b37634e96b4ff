"""How a plan's delta goes under masks: which blocks are a circle, and how each becomes integers. Pure.

What a device says of a circle is one vector: its blocks ascending, of each the P values and behind them the weight, of
a head the weights of its C rows. Weights are integers from 1 to W, of a row without examples 0. With noise all weights
are 1, whatever the examples are, and what a device says follows the rules of "Noise" in SPEC.md.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.experts import CLASS_SUMS, HEAD, BankShape, ExpertId
from edge_runtime.wire.messages import ids
from edge_runtime.wire.secure.class_sums import ClassTerms, class_size
from edge_runtime.wire.secure.fixed_point import Integers, Scale, cut_whole, rows_of, weight_of
from edge_runtime.wire.secure.noise import discrete_gaussian
from edge_runtime.wire.tensors import Array

KINDS: Final = ("expert", "shared", "head")


def kind_of(block: ExpertId) -> str:
    """Return by which step and norm a block goes."""
    return "head" if block == HEAD else "shared" if block.shared else "expert"


def weights_of(block: ExpertId, shape: BankShape) -> int:
    """Return how many weights stand behind a block's values."""
    return shape.labels if block == HEAD else 1


@dataclass(frozen=True)
class Terms:
    """What a plan says of masks.

    Args:
        circles: blocks of each circle, ascending, by its number.
        limit: R, of an integer's size.
        most_weight: W, of any device.
        examples_per_weight: examples that a weight of 1 stands for.
        steps, norms: s, and C that an update of a block has at most; by kind.
        whole_norm: B, of all integers of a device together; 0: there is no noise.
        variances, least: V of a device's noise, and the survivors that it is enough of; by circle.
        classes: how class sums become integers; None: no circle asks for them.
    """

    circles: Mapping[int, tuple[ExpertId, ...]]
    limit: int
    most_weight: int
    examples_per_weight: float
    steps: Mapping[str, float]
    norms: Mapping[str, float]
    whole_norm: int = 0
    variances: Mapping[int, int] = field(default_factory=dict)
    least: Mapping[int, int] = field(default_factory=dict)
    classes: ClassTerms | None = None

    @classmethod
    def of(cls, message: pb.MaskTerms) -> Self:
        """Read a plan's terms; they were checked with their plan."""
        return cls(
            {circle.number: ids(circle.blocks) for circle in message.circles},
            message.limit,
            message.most_weight,
            message.examples_per_weight,
            {kind: getattr(message, f"{kind}_step") for kind in KINDS},
            {kind: getattr(message, f"{kind}_norm") for kind in KINDS},
            message.whole_norm,
            {circle.number: circle.variance for circle in message.circles if circle.variance},
            {circle.number: circle.least for circle in message.circles if circle.least},
            ClassTerms(message.class_step, message.class_examples) if message.class_step > 0 else None,
        )

    @property
    def private(self) -> bool:
        """Whether devices add noise."""
        return self.whole_norm > 0

    def scale(self, block: ExpertId, weight: int = 1) -> Scale:
        """Return how a block's values become integers. Args: weight: of the device."""
        return Scale(self.steps[kind_of(block)], self.limit, weight, self.most_weight)

    def norm(self, block: ExpertId) -> float:
        """Return the norm that an update of a block has at most."""
        return self.norms[kind_of(block)]

    def size(self, circle: int, shape: BankShape) -> int:
        """Return how many integers a device says of a circle."""
        if self.of_classes(circle):
            return class_size(shape)
        return sum(shape.size(block) + weights_of(block, shape) for block in self.circles[circle])

    def of_classes(self, circle: int) -> ClassTerms | None:
        """Return how the values of a circle of class sums become integers; None: it has blocks of the bank."""
        return self.classes if self.circles[circle] == (CLASS_SUMS,) else None

    def integers(
        self, block: ExpertId, change: Array, examples: float, label_counts: Array | None = None
    ) -> tuple[Integers, Array]:
        """Return a block as a device says it, and what rounding left of its values, float32 [P].

        Args:
            block: its id.
            change: trained values less those before, and what was left of earlier ones; float32 [P].
            examples: that it was trained on.
            label_counts: of a head: examples of each label, [C].

        Raises:
            SecureError: for NaN or infinity, and a head without counts.
        """
        values = self._cut(block, change)
        if block != HEAD:
            weight = weight_of(examples, self.examples_per_weight, self.most_weight)
            integers, left = self.scale(block, weight).integers(values)
            return np.append(integers, np.int64(weight)), left
        if label_counts is None or not label_counts.size:
            msg = "a trained head without examples by label, the weights of its rows"
            raise SecureError(msg)
        weights = np.array([self._row_weight(float(count)) for count in label_counts], np.int64)
        every, result, rest = rows_of(weights, values.size), np.zeros(values.size, np.int64), np.zeros_like(values)
        for weight in np.unique(weights[weights > 0]):
            rows = every == weight
            result[rows], rest[rows] = self.scale(block, int(weight)).integers(values[rows])
        return np.concatenate([result, weights]), rest

    def noised(
        self, changes: Mapping[ExpertId, Array], shape: BankShape, seed: bytes
    ) -> tuple[dict[int, Integers], dict[ExpertId, Array]]:
        """Return what a device says of all circles, with noise, and what rounding left of each block, float32 [P].

        Args:
            changes: as ``change`` of ``integers``, of all blocks.
            shape: of the bank.
            seed: 32 secret bytes, which serve once: who has two updates under one noise knows how they differ.

        Raises:
            SecureError: for NaN or infinity.
        """
        wide = {block: change.astype(np.float64) / self.scale(block).step for block, change in changes.items()}
        beyond = [block for block, part in wide.items() if not np.isfinite(part).all()]
        if beyond:
            msg = f"block {beyond[0]} of a delta is not finite"
            raise SecureError(msg)
        cut, factor = cut_whole(list(wide.values()), self.whole_norm, self.limit)
        integers = dict(zip(wide, cut, strict=True))
        left = {
            block: ((wide[block] * factor - part) * self.scale(block).step).astype(np.float32)
            for block, part in integers.items()
        }
        return {circle: self._with_noise(circle, integers, shape, seed) for circle in self.circles}, left

    def _with_noise(
        self, circle: int, integers: Mapping[ExpertId, Integers], shape: BankShape, seed: bytes
    ) -> Integers:
        """Return what a device says of a circle; weights get no noise, for they are the same whatever the data are."""
        own = hashlib.sha256(b"noise" + seed + circle.to_bytes(4, "little")).digest()
        blocks = self.circles[circle]
        noise = discrete_gaussian(own, self.variances[circle], sum(integers[block].size for block in blocks))
        parts, start = [], 0
        for block in blocks:
            values = integers[block]
            parts += [values + noise[start : start + values.size], np.ones(weights_of(block, shape), np.int64)]
            start += values.size
        return np.concatenate(parts)

    def _row_weight(self, count: float) -> int:
        return weight_of(count, self.examples_per_weight, self.most_weight) if count > 0 else 0

    def _cut(self, block: ExpertId, change: Array) -> Array:
        """Return an update that is no longer than its norm."""
        wide = change.astype(np.float64)
        length = math.sqrt(float(np.square(wide).sum()))
        if not math.isfinite(length):
            msg = f"block {block} of a delta is not finite"
            raise SecureError(msg)
        most = self.norm(block)
        return change if length <= most else (wide * (most / length)).astype(np.float32)


def masked_blocks(plan: pb.Plan, delta: pb.Delta) -> tuple[ExpertId, ...]:
    """Return the blocks of the bank that a delta under masks has, ascending. Args: plan: that it answers."""
    told = {circle.number for circle in delta.masked}
    blocks = [block for circle in plan.masks[0].circles if circle.number in told for block in ids(circle.blocks)]
    return tuple(sorted(block for block in blocks if block != CLASS_SUMS))
