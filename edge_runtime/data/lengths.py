"""How many tokens texts have: what a device chooses its tier by, and counts the steps of an epoch with.

Axes: N texts. Four bytes a text stay in memory; texts are read and cut into tokens a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    lengths = np.zeros(min(count, len(source)), np.int32)
    for first in range(0, len(lengths), _CHUNK):
        rows = range(first, min(first + _CHUNK, len(lengths)))
        lengths[first : rows.stop] = [len(tokens[:length]) for tokens in _tokens(source, rows, tokenizer, length)]
        progress(len(rows))
    return lengths


def _tokens(source: Source, rows: Sequence[int], tokenizer: Tokenizer, length: int) -> list[list[int]]:
    if isinstance(source, WindowSource):
        return source.windows(rows)
    return tokenizer.encode(source.texts(rows), length)
