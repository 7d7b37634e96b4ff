"""The label prior: a model's probabilities moved towards the labels that one device has (SPEC.md, "Label prior"). Pure.

Axes: C labels. Bayes' rule takes a classifier from one mixture of labels to another (Saerens, Latinne and Decaestecker,
Neural Computation 14(1), 2002, eq. 4): each probability is multiplied by the ratio of the new prior to the old one. The
new one is the device's, by additive smoothing; the old one is taken to be uniform (docs/algorithm.md, "Label prior").
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.errors import DataError
from edge_runtime.wire.tensors import Array

STRENGTHS: Final = (0.0, 0.5, 1.0)
"""Powers of the ratio: off, half, full. A root and a product are exact in every language; other powers are not."""
SMOOTHING: Final = 1.0
"""a: examples that every label is given beside its own, so that one without any can still be predicted (Laplace)."""

Counts = npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]
Weights = npt.NDArray[np.float64]


def label_weights(counts: Counts, strength: float) -> Weights:
    """Return what the probability of each label is multiplied by, float64 [C]: (n_l + a) ^ strength.

    The ratio ((n_l + a) / (N + a C)) / (1 / C) without the factor that all labels share.

    Args:
        counts: n_l, examples of each label on the device, [C].
        strength: one of ``STRENGTHS``.

    Raises:
        DataError: for another strength, or counts that are negative or not finite.
    """
    smoothed = counts.astype(np.float64) + SMOOTHING
    if strength not in STRENGTHS:
        raise DataError(f"label prior of strength {strength}, expected one of {', '.join(map(str, STRENGTHS))}")
    if not (np.isfinite(smoothed).all() and (smoothed >= SMOOTHING).all()):
        raise DataError("label counts are negative or not finite; count the labels again")
    if strength == 1:
        return smoothed
    return np.sqrt(smoothed) if strength else np.ones_like(smoothed)


def with_prior(probabilities: Array, weights: Weights) -> Array:
    """Return probabilities [C] under a label prior, float32, computed in float64: p_l w_l / sum p_k w_k.

    Where all weights are alike the prior says nothing, and every bit stays.

    Raises:
        DataError: when there are not as many weights as probabilities.
    """
    if weights.shape != probabilities.shape:
        raise DataError(f"a label prior of {weights.size} labels for {probabilities.size} probabilities")
    if (weights == weights[0]).all():
        return probabilities
    shares = probabilities.astype(np.float64) * weights
    total = np.cumsum(shares)[-1]  # one after the other, as other languages add
    moved: Array = (shares / total).astype(np.float32)
    return moved
