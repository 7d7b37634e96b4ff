"""One file with the texts of a run as token ids, for processes that know nothing of packages or tokenizers.

Axes: N texts. Batches follow the order in which a device goes through its examples (`EntryOrder`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quantization.texts import Row
from benchmarks.real_text import BATCH
from edge_runtime.data.examples import EntryOrder
from edge_runtime.data.tokenizer import Tokenizer

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Work:
    """Texts as ids. Args: tokens: all texts' one after the other; lengths: [N]; labels: [N], rows of the head."""

    tokens: Array
    lengths: Array
    labels: Array

    def ids(self, text: int) -> Array:
        """Return the ids of a text."""
        first = int(self.lengths[:text].sum())
        ids: Array = self.tokens[first : first + int(self.lengths[text])]
        return ids

    def padded(self, texts: Sequence[int]) -> tuple[Array, Array, Array]:
        """Return ids and mask [B, longest of the texts] and label numbers [B]."""
        longest = int(self.lengths[list(texts)].max())
        ids = np.zeros((len(texts), longest), np.int64)
        mask = np.zeros((len(texts), longest), np.float32)
        for row, text in enumerate(texts):
            length = int(self.lengths[text])
            ids[row, :length], mask[row, :length] = self.ids(text), 1.0
        return ids, mask, self.labels[list(texts)]


def encoded(rows: Sequence[Row], labels: Sequence[str], tokenizer: Tokenizer, length: int) -> Work:
    """Return texts as ids, cut at ``length`` as a device cuts them."""
    tokens = tokenizer.encode([text for text, _ in rows], length)
    numbers = {label: number for number, label in enumerate(labels)}
    wanted = np.array([numbers[label] for _, label in rows], np.int64)
    lengths = np.array([len(ids) for ids in tokens], np.int64)
    return Work(np.concatenate([np.array(ids, np.int64) for ids in tokens]), lengths, wanted)


def write(path: Path, work: Work) -> Path:
    """Write to ``path``, which ends in .npz."""
    np.savez(path, tokens=work.tokens, lengths=work.lengths, labels=work.labels)
    return path


def read(path: Path) -> Work:
    """Read what ``write`` wrote."""
    with np.load(path) as arrays:
        return Work(arrays["tokens"], arrays["lengths"], arrays["labels"])


def epochs(count: int, seed: int) -> Iterator[int]:
    """Return the texts in a device's order, without end. Args: count: N; seed: of the order."""
    return map(EntryOrder(seed, count).row, itertools.count())


class Batches:
    """Epochs cut into batches of 16. Args: count: N; seed: of the order."""

    def __init__(self, count: int, seed: int) -> None:
        self._epochs = epochs(count, seed)

    def __next__(self) -> list[int]:
        """Return the texts of the next batch."""
        return list(islice(self._epochs, BATCH))
