"""Texts to what a training method takes: labelled texts for a classifier, windows for a language model.

Axes: B texts of a step at most, R rows of S places, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.data.examples import ExampleSource
from edge_runtime.data.packed import Packed
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.data.trunk import Prefix, Trunk
from edge_runtime.data.windows import WindowSource
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.tensors import Array

Source = ExampleSource | WindowSource


@dataclass(frozen=True)
class Text:
    """A text as a step takes it.

    Args:
        row: of the source.
        count: n, at most S.
        tokens: its n tokens; of a window all S + 1, for the targets; none of a text whose prefix is used.
        prefix: of a tier that starts above a frozen prefix.
    """

    row: int
    count: int
    tokens: Sequence[int] = ()
    prefix: Prefix | None = None


@dataclass(frozen=True)
class Reader:
    """Reads texts for the steps of a tier.

    Args:
        source: of the examples.
        tokenizer: of the package.
        labels: C; not used for windows.
        length: S; longer texts and windows are cut.
        trunk: of a method that starts above a frozen prefix.
    """

    source: Source
    tokenizer: Tokenizer
    labels: int
    length: int
    trunk: Trunk | None = None

    def texts(self, rows: Sequence[int]) -> list[Text]:
        """Return the texts of ``rows``."""
        if isinstance(self.source, WindowSource):
            return self._windows(rows, self.source.windows(rows))
        texts = self.source.texts(rows)
        if self.trunk is not None:
            prefixes = self.trunk.of_texts(texts, self.tokenizer)
            return [Text(row, one.count, (), one) for row, one in zip(rows, prefixes, strict=True)]
        tokens = self.tokenizer.encode(texts, self.length)
        return [Text(row, len(ids), ids) for row, ids in zip(rows, tokens, strict=True)]

    def _windows(self, rows: Sequence[int], windows: Sequence[Sequence[int]]) -> list[Text]:
        counts = [min(len(window), self.length) for window in windows]
        prefixes = [None] * len(windows) if self.trunk is None else self.trunk.of_tokens(windows)
        return [Text(*one) for one in zip(rows, counts, windows, prefixes, strict=True)]

    def inputs(self, texts: Sequence[Text], packed: Packed) -> dict[str, npt.NDArray[Any]]:
        """Return a step's texts by name: ids (or prefix and residual), positions, attend, mask, and what is wanted.

        That is readout and labels, or targets and weights. A text without tokens has no label: nothing is learned
        from it.
        """
        inputs = {**self._said(texts, packed), **packed.frame(), ports.MASK: packed.mask()}
        if isinstance(self.source, WindowSource):
            following = [text.tokens[1 : self.length + 1] for text in texts]
            inputs[ports.TARGETS] = packed.spread(following, np.int64)
            inputs[ports.WEIGHTS] = packed.spread([np.ones(len(one), np.float32) for one in following], np.float32)
            return inputs
        wanted = np.zeros((packed.capacity.batch, self.labels), np.float32)
        for slot, *_ in packed.spans():
            wanted[slot, self.source.labels[texts[slot].row]] = 1.0
        return {**inputs, ports.READOUT: packed.means(), ports.LABELS: wanted}

    def _said(self, texts: Sequence[Text], packed: Packed) -> dict[str, npt.NDArray[Any]]:
        if self.trunk is None:
            return {ports.IDS: packed.spread([text.tokens for text in texts], np.int64)}
        prefixes = [text.prefix for text in texts if text.prefix is not None]
        return dict(self.trunk.spread(prefixes, packed))


def label_counts(source: Source, rows: npt.NDArray[np.int64], labels: int) -> Array:
    """Return the examples of each label, float32 [C]; [0] for windows."""
    if isinstance(source, WindowSource):
        return np.zeros(0, np.float32)
    return np.bincount(source.labels[rows], minlength=labels).astype(np.float32)
