"""Training under a device's own label prior, so that a skewed device does not unlearn the labels that it lacks. Pure.

Axes: C labels.

A device whose texts are mostly of some labels lowers the logits of all others in every step, and what it learns so is
its own label frequencies, which say nothing to the rest of the federation. Trained with the log of its label prior on
its logits it learns what the prior does not say: the gradient of a label that it lacks is nearly 0 (logit adjustment:
Menon et al., arXiv 2007.07314, eq. 10; balanced softmax: Ren et al., arXiv 2007.10740; on federated devices: Zhang et
al., arXiv 2209.00189). The prior goes into the head's biases before the first step, so a program needs no new input,
and a delta, trained minus start, does not contain it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.tensors import Array

SMOOTHING = 1.0
"""Added to the count of each label."""


def prior_shift(counts: npt.ArrayLike, strength: float = 1.0) -> Array:
    """Return what is added to a head's biases while a device trains, float32 [C].

        shift_l = strength * log((n_l + a) / max_k (n_k + a))

    Only differences count in a softmax; the label that the device has most of is not moved.

    Args:
        counts: [C], the device's texts of each label.
        strength: 0 to 1.
    """
    smoothed = np.asarray(counts, np.float64) + SMOOTHING
    shift: Array = (strength * np.log(smoothed / smoothed.max())).astype(np.float32)
    return shift
