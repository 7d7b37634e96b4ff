"""Which labels a head knows, and a trained head with the labels that it lacked. Pure.

Axes: C labels, d width. A head's block is [C * (d + 1)]: C rows of d weights, then C biases. How it starts:
``edge_runtime/wire/class_means.py``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_runtime.wire.class_means import ABSENT_LABEL
from edge_runtime.wire.tensors import Array


def absent_labels(head: Array, labels: int, logit_scale: float) -> npt.NDArray[np.bool_]:
    """Return bool [C]: the labels that nobody had an example of when the head was made from class means.

    Training cannot change that: a row whose label nobody has gets no weight in a merge, and keeps its bits.
    """
    absent: npt.NDArray[np.bool_] = head[-labels:] == np.float32(ABSENT_LABEL * logit_scale)
    return absent


def with_new_labels(head: Array, class_means: Array, labels: int, logit_scale: float) -> Array:
    """Return a trained head with the rows of ``class_means`` for the labels that it lacks; other rows stay."""
    new = absent_labels(head, labels, logit_scale) & ~absent_labels(class_means, labels, logit_scale)
    width = head.size // labels - 1
    return np.where(np.concatenate([np.repeat(new, width), new]), class_means, head)
