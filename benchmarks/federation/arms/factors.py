"""Low-rank factors of an update, stacked over layers, and what every LoRA rule does with them. Pure.

Axes: L adapted layers, r rank, ``in`` and ``out`` widths of the adapted linear. The update of a layer's weight is
scale * b @ a (Hu et al., 2106.09685); the scale is the form's and appears in no rule. Sums are taken in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.tensors import Array

Wide = npt.NDArray[np.float64]
Scales = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Factors:
    """Both factors of one adapted linear.

    Args:
        a: float32 [L, r, in].
        b: float32 [L, out, r].

    Raises:
        ValueError: when the two do not belong together.
    """

    a: Array
    b: Array

    def __post_init__(self) -> None:
        if self.a.ndim != 3 or self.b.ndim != 3 or self.a.shape[:2] != (self.b.shape[0], self.b.shape[2]):
            msg = f"a is {list(self.a.shape)} and b {list(self.b.shape)}, expected [L, r, in] and [L, out, r]"
            raise ValueError(msg)

    @property
    def rank(self) -> int:
        """Return r."""
        return int(self.a.shape[1])

    def product(self) -> Wide:
        """Return b @ a of each layer, float64 [L, out, in]."""
        update: Wide = self.b.astype(np.float64) @ self.a.astype(np.float64)
        return update

    def norms(self) -> Wide:
        """Return the Frobenius norm of each layer's product, [L], without making it: trace of (b^T b)(a a^T)."""
        a, b = self.a.astype(np.float64), self.b.astype(np.float64)
        squares = (np.swapaxes(b, 1, 2) @ b) * (a @ np.swapaxes(a, 1, 2))
        norms: Wide = np.sqrt(np.maximum(squares.sum((1, 2)), 0.0))
        return norms

    def truncated(self, rank: int) -> Factors:
        """Return the first ``rank`` ranks, or all where there are fewer."""
        return Factors(self.a[:, :rank], self.b[:, :, :rank])

    def padded(self, rank: int) -> Factors:
        """Return factors of ``rank`` ranks whose further ones are zero; the product stays the same."""
        more = max(0, rank - self.rank)
        return Factors(np.pad(self.a, ((0, 0), (0, more), (0, 0))), np.pad(self.b, ((0, 0), (0, 0), (0, more))))


def shares(weights: Sequence[float]) -> list[float]:
    """Return the weights divided by their sum; equal shares where all are zero.

    Raises:
        ValueError: for no weight at all, or a negative one.
    """
    if not weights or min(weights) < 0:
        msg = f"weights of a mean must be at least one and none negative, got {list(weights)}"
        raise ValueError(msg)
    total = sum(weights)
    return [weight / total if total > 0 else 1 / len(weights) for weight in weights]


def mean(arrays: Sequence[Array], weights: Sequence[float]) -> Array:
    """Return the weighted mean of arrays of one shape, float32."""
    parts = zip(arrays, shares(weights), strict=True)
    return np.asarray(sum((array.astype(np.float64) * share for array, share in parts), np.float64(0)), np.float32)


def stacked(parts: Sequence[Factors], scales: Sequence[Scales | float]) -> Factors:
    """Return one beside the other: the product is the sum of the parts' products, each scaled.

    Args:
        parts: of any ranks.
        scales: of each part, one number or one for each of its ranks ([r] or [L, 1, r]); they multiply b.
    """
    b = [(part.b * np.asarray(scale)).astype(np.float32) for part, scale in zip(parts, scales, strict=True)]
    return Factors(np.concatenate([part.a for part in parts], axis=1), np.concatenate(b, axis=2))


def reduced(factors: Factors, rank: int) -> Factors:
    """Return the best approximation of rank ``rank`` to the product: b = U S, a = V^T of its singular values.

    Rows of a are orthonormal and the singular values fall, so a smaller device takes the first of them. Two QR
    decompositions come first, so what is decomposed is no larger than the stack's rank. Ranks that the product does
    not have are zero.
    """
    left, upper = np.linalg.qr(factors.b.astype(np.float64))
    right, lower = np.linalg.qr(np.swapaxes(factors.a.astype(np.float64), 1, 2))
    u, values, v = np.linalg.svd(upper @ np.swapaxes(lower, 1, 2), full_matrices=False)
    a = v[:, :rank] @ np.swapaxes(right, 1, 2)
    b = left @ (u[:, :, :rank] * values[:, None, :rank])
    return Factors(a.astype(np.float32), b.astype(np.float32)).padded(rank)
