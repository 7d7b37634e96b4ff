"""Labelled texts that a caller has in memory, as a source like a file of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from edge_runtime.data.examples import Labels
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.labels import unknown_labels
from edge_runtime.wire.text_lines import whole


@dataclass(frozen=True)
class MemorySource:
    """N labelled texts.

    Args:
        kept: the texts.
        labels: int32 [N], rows of the head.
        digest: SHA-256 over texts, labels and the package's list of labels.
        skipped: texts that were empty.
    """

    kept: tuple[str, ...]
    labels: Labels
    digest: bytes
    skipped: int

    @classmethod
    def of(cls, texts: Sequence[str], labels: Sequence[str], known: Sequence[str]) -> Self:
        """Take texts and the label of each; empty texts are left out.

        Args:
            texts: what people wrote.
            labels: of each.
            known: the package's C labels, in the order of the head's rows.

        Raises:
            DataError: for another number of labels than of texts, a label that the package has not, or no text.
        """
        if len(texts) != len(labels):
            raise DataError(f"{len(texts)} texts and {len(labels)} labels came; give one label for each text")
        rows = {label: row for row, label in enumerate(known)}
        unknown = Counter(label for label in labels if label not in rows)
        if unknown:
            raise unknown_labels("labels", unknown, known)
        cleaned = [whole(text).strip() for text in texts]  # as a file's are
        pairs = [(text, rows[label]) for text, label in zip(cleaned, labels, strict=True) if text]
        if not pairs:
            raise DataError("no text came; give at least one that is not empty")
        told = json.dumps([pairs, list(known)]).encode()
        numbers = np.array([row for _, row in pairs], np.int32)
        digest = hashlib.sha256(told).digest()
        return cls(tuple(text for text, _ in pairs), numbers, digest, len(texts) - len(pairs))

    def __len__(self) -> int:
        """Return N."""
        return len(self.kept)

    def texts(self, rows: Sequence[int]) -> list[str]:
        """Return the texts of ``rows``, in their order."""
        return [self.kept[row] for row in rows]
