"""How many tokens texts have: what a device chooses its tier by, and counts the steps of an epoch with.

Axes: N texts. Four bytes a text stay in memory; texts are read and cut into tokens a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_runtime.data.batches import Source
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.data.windows import WindowSource

Lengths = npt.NDArray[np.int32]

SAMPLE: Final = 256
"""Texts at the beginning of the data that a tier is chosen by."""
_CHUNK: Final = 256


def lengths_of(
    source: Source, count: int, tokenizer: Tokenizer, length: int, progress: Callable[[int], None] = lambda _: None
) -> Lengths:
    """Return the tokens of the first ``count`` texts (all, if there are fewer), at most ``length`` each.

    Args:
        source: of the texts.
        count: of them to look at.
        tokenizer: of the package.
        length: S.
        progress: told how many were counted.
    """
    number = min(count, len(source))
    if isinstance(source, WindowSource):
        progress(number)
        return _of_windows(source, number, length)
    lengths = np.zeros(number, np.int32)
    for first in range(0, number, _CHUNK):
        rows = range(first, min(first + _CHUNK, number))
        lengths[first : rows.stop] = [len(tokens) for tokens in tokenizer.encode(source.texts(rows), length)]
        progress(len(rows))
    return lengths


def _of_windows(source: WindowSource, count: int, length: int) -> Lengths:
    """Return the tokens of windows: S of each, but of the last, which alone may be shorter and is read."""
    lengths = np.full(count, length, np.int32)
    if count == len(source):
        lengths[-1] = min(len(source.windows([count - 1])[0]), length)
    return lengths
