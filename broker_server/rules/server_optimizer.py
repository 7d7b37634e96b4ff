"""Server optimizers: a round's mean update as a gradient of the whole federation, block by block. Pure; float64.

Axes: P values of a block. D is the mean update of a block, theta its values, eta the rate.

    none      theta + eta D
    momentum  m = b1 m + D                                theta + eta m      (FedAvgM: Hsu et al., arXiv 1909.06335)
    adam      m = b1 m + (1 - b1) D
              v = b2 v + (1 - b2) D^2                     theta + eta m / (sqrt(v) + tau)
    yogi      v = v - (1 - b2) D^2 sign(v - D^2)          likewise

Adam and Yogi are FedAdam and FedYogi of Reddi et al., arXiv 2003.00295, algorithm 2: v takes D^2, not m^2, starts at
tau^2, and nothing is corrected for its start. Moments advance for values that somebody gave weight to, and wait where
nobody did: an expert that nobody trained does not drift along its old momentum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from broker_server.rules.aggregate import Sums, Wide, mean_of
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.tensors import Array

USUAL_RATES: Final = {"none": 1.0, "momentum": 1.0, "adam": 0.01, "yogi": 0.01}
"""eta by optimizer. Adam and Yogi move a value by about eta a round, whatever the size of its update."""
MOMENTS: Final = {"none": 0, "momentum": 1, "adam": 2, "yogi": 2}
"""Arrays of moments that an optimizer keeps of a block."""
_LARGEST: Final = float(np.finfo(np.float32).max)
Moments = Mapping[ExpertId, Array]
"""By block, float32 [1, P] (m) or [2, P] (m, v)."""


@dataclass(frozen=True)
class ServerOptimizer:
    """How a round's mean update becomes a step.

    Args:
        kind: "none", "momentum", "adam" or "yogi".
        rate: eta; 0: the usual of its kind.
        beta1: b1, in [0, 1).
        beta2: b2, in [0, 1).
        tau: of adam and yogi, above 0: how far they adapt; the larger, the less.
    """

    kind: str = "none"
    rate: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    @property
    def eta(self) -> float:
        """The rate."""
        return self.rate or USUAL_RATES[self.kind]

    @property
    def plain(self) -> bool:
        """Whether the step is the mean update as it is."""
        return self.kind == "none" and self.eta == 1.0


def optimized(sums: Sums, moments: Moments, optimizer: ServerOptimizer) -> tuple[Sums, dict[ExpertId, Array]]:
    """Return sums whose means are the optimizer's steps, and the moments after them.

    Args:
        sums: of the round; with a plain optimizer they are returned as they are.
        moments: after the round before; those of another number of arrays than the optimizer's begin anew.
        optimizer: how it is done.

    Returns:
        Sums for ``aggregate.close``, and moments: of blocks that nobody gave weight to the very arrays that came.
    """
    rows = MOMENTS[optimizer.kind]
    kept = {block: values for block, values in moments.items() if len(values) == rows}
    if optimizer.plain:
        return sums, kept
    steps = Sums(devices=dict(sums.devices))
    for block in sums.deltas:
        mean, moved = mean_of(sums, block)
        steps.weights[block] = moved.astype(np.float64)
        step, after = _step(mean, kept.get(block), optimizer)
        steps.deltas[block] = np.where(moved, step, 0.0)
        if rows and moved.any():
            before = kept[block] if block in kept else _start(rows, mean.size, optimizer)
            kept[block] = np.where(moved, after, before)
    return steps, kept


def _start(rows: int, size: int, optimizer: ServerOptimizer) -> Array:
    start = np.zeros((rows, size), np.float32)
    start[1:] = optimizer.tau**2
    return start


def _step(mean: Wide, moments: Array | None, optimizer: ServerOptimizer) -> tuple[Wide, Array]:
    """Return the step of a block, and its moments, as if all of its values had moved."""
    rows, b1, b2 = MOMENTS[optimizer.kind], optimizer.beta1, optimizer.beta2
    after = (_start(rows, mean.size, optimizer) if moments is None else moments).astype(np.float64)
    if not rows:
        return optimizer.eta * mean, after.astype(np.float32)
    if rows == 1:
        after[0] = b1 * after[0] + mean
        return optimizer.eta * after[0], _narrow(after)
    square = mean * mean
    after[0] = b1 * after[0] + (1 - b1) * mean
    if optimizer.kind == "adam":
        after[1] = b2 * after[1] + (1 - b2) * square
    else:
        after[1] -= (1 - b2) * square * np.sign(after[1] - square)
    return optimizer.eta * after[0] / (np.sqrt(after[1]) + optimizer.tau), _narrow(after)


def _narrow(values: Wide) -> Array:
    """Return float32 values, none of them infinite."""
    result: Array = np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)
    return result
