"""How hard, and towards what, a device's router is pushed: the arithmetic of the heterogeneity-aware auxiliary loss.

Axes: S experts that the device holds at a layer, M experts of the layer. Top-k gates only. The loss is the program's;
its target q [S] and weight lambda are inputs, computed here from the gateway's statistics u (use of each expert where
it was available) and the device's own F (share of its tokens by expert). Formulas: this project's,
docs/algorithm.md, "Loss".
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.tensors import Array

KAPPA: Final = 0.1
RATIO_LIMIT: Final = 4.0
EPSILON: Final = 1e-6
WEIGHT_LIMIT: Final = 0.1

Vector = npt.NDArray[np.float64]


def balance_target(use_held: Array, use_mean: float) -> Array:
    """Return q, float32 [S], positive, sum 1: more for held experts that the federation uses less than the mean.

    rho_i = clip((mean + eps) / (u_i + eps), 1/4, 4);  q_i = kappa/S + (1 - kappa) * rho_i / sum rho.

    Args:
        use_held: u of the held experts, [S].
        use_mean: mean of u over the layer.
    """
    use = use_held.astype(np.float64)
    ratio = np.clip((use_mean + EPSILON) / (use + EPSILON), 1 / RATIO_LIMIT, RATIO_LIMIT)
    q = KAPPA / use.size + (1 - KAPPA) * ratio / ratio.sum()
    target: Array = q.astype(np.float32)
    return target


def divergence(shares: Array, use_held: Array) -> float:
    """Return H_c in [0, 1]: the Jensen-Shannon divergence of F and u on the held experts, in bits.

    Both are normalized first; with no mass on either side there is nothing to compare, and it is 0.
    """
    left, right = shares.astype(np.float64), use_held.astype(np.float64)
    if left.sum() <= 0 or right.sum() <= 0:
        return 0.0
    left, right = left / left.sum(), right / right.sum()
    middle = (left + right) / 2
    return float(min(1.0, max(0.0, (_relative(left, middle) + _relative(right, middle)) / 2)))


def _relative(p: Vector, q: Vector) -> float:
    some = p > 0
    return float(np.sum(p[some] * np.log2(p[some] / q[some])))


def balance_weight(pressure: float, heterogeneity: float, held: int, experts: int) -> float:
    """Return lambda_c = clip(pressure * (1 - H_c) * held/M, 0, 0.1): an unusual or small device is pushed less.

    One held expert leaves the router no choice: 0.
    """
    if held <= 1:
        return 0.0
    return float(np.clip(pressure * (1 - heterogeneity) * held / experts, 0.0, WEIGHT_LIMIT))
