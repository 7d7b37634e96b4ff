"""Examples to what a training method takes: labelled texts for a classifier, windows for a language model.

Axes: B rows, S sequence length, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.data.examples import ExampleSource
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.data.trunk import Trunk
from edge_runtime.data.windows import WindowSource
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.tensors import Array
from edge_runtime.wire.windows import arrays

Source = ExampleSource | WindowSource


def batch_of(
    source: Source, rows: Sequence[int], tokenizer: Tokenizer, labels: int, length: int, *, trunk: Trunk | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return a batch by name: ids and mask [B, S], and labels [B, C], or targets and weights [B, S].

    With a trunk there are prefix and residual [B, S, d] in place of ids.

    Args:
        source: of the examples.
        rows: B of them.
        tokenizer: of the package.
        labels: C; not used for windows.
        length: S; longer texts and windows are cut.
        trunk: of a method that starts above a frozen prefix.
    """
    if isinstance(source, WindowSource):
        names = (ports.IDS, ports.MASK, ports.TARGETS, ports.WEIGHTS)
        inputs: dict[str, npt.NDArray[Any]] = dict(zip(names, arrays(source.windows(rows), length), strict=True))
        return inputs if trunk is None else trunk.in_place_of_ids(inputs)
    wanted = np.zeros((len(rows), labels), np.float32)
    wanted[np.arange(len(rows)), source.labels[rows]] = 1.0
    if trunk is not None:
        return {**trunk.of_texts(source.texts(rows), tokenizer, length), ports.LABELS: wanted}
    ids, mask = tokenizer.encode(source.texts(rows), length)
    return {ports.IDS: ids, ports.MASK: mask, ports.LABELS: wanted}


def label_counts(source: Source, rows: npt.NDArray[np.int64], labels: int) -> Array:
    """Return the examples of each label, float32 [C]; [0] for windows."""
    if isinstance(source, WindowSource):
        return np.zeros(0, np.float32)
    return np.bincount(source.labels[rows], minlength=labels).astype(np.float32)
