"""One file with the texts of a run as token ids, for processes that know nothing of packages or tokenizers.

Axes: N texts. Batches follow the order in which a device goes through its examples (`edge_runtime.wire.order`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quantization.texts import Row
from benchmarks.real_text import BATCH
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.wire.order import epoch_order

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


class Epochs:
    """Texts in the order of epochs laid end to end, without end. Args: count: N; seed: of the order."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed, self._taken = count, seed, 0
        self._epoch, self._order = 0, epoch_order(seed, 0, count)

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        """Return the next text."""
        epoch, place = divmod(self._taken, self._count)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, epoch_order(self._seed, epoch, self._count)
        self._taken += 1
        return int(self._order[place])


class Batches:
    """Epochs cut into batches of 16. Args: count: N; seed: of the order."""

    def __init__(self, count: int, seed: int) -> None:
        self._epochs = Epochs(count, seed)

    def __next__(self) -> list[int]:
        """Return the texts of the next batch."""
        return list(islice(self._epochs, BATCH))
