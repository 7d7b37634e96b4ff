"""The head from federated class means: sums of frozen features by label, added over devices. Pure.

Axes: C labels, d width. With N_c examples and feature sum S_c of class c: mean = sum S / sum N; row c of the head is
S_c/N_c - mean, normalized to length 1, with bias 0. A label that nobody has gets a row of zeros and a bias far below
any logit, so that it is never predicted and no gradient moves it by chance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.experts import HEAD, MEAN, ExpertId
from edge_runtime.wire.tensors import Array

ABSENT_BIAS = -100.0
"""Below any logit: features and rows have length 1, the mean at most 1, so |logit| <= 20 * 2."""


@dataclass(frozen=True)
class ClassSums:
    """Args: counts: float64 [C]; sums: float64 [C, d]."""

    counts: npt.NDArray[np.float64]
    sums: npt.NDArray[np.float64]

    @classmethod
    def total(cls, parts: Iterable[ClassSums]) -> ClassSums:
        """Add up devices, in the order given.

        Raises:
            ValueError: without any part.
        """
        stack = list(parts)
        if not stack:
            msg = "no class statistics to add"
            raise ValueError(msg)
        return cls(sum((p.counts for p in stack[1:]), stack[0].counts), sum((p.sums for p in stack[1:]), stack[0].sums))


def class_mean_head(total: ClassSums) -> dict[ExpertId, Array]:
    """Return the head's and the mean's blocks, float32 [C * (d + 1)] and [d].

    Raises:
        ValueError: when there is no example at all.
    """
    examples = float(total.counts.sum())
    if examples <= 0:
        msg = "class statistics without examples"
        raise ValueError(msg)
    seen = total.counts > 0
    mean = total.sums.sum(axis=0) / examples
    rows = np.divide(total.sums, total.counts[:, None], out=np.zeros_like(total.sums), where=seen[:, None])
    rows = np.where(seen[:, None], rows - mean, 0.0)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-12)
    bias = np.where(seen, 0.0, ABSENT_BIAS)
    head = np.concatenate([rows.reshape(-1), bias]).astype(np.float32)
    return {HEAD: head, MEAN: mean.astype(np.float32)}
