"""How many texts of each label this device has, and how far its predictions follow that: kept here, never sent.

Axes: C labels. The record stands in the state directory and is read by ``predict`` alone. What a gateway learns of
labels (class sums, a delta's label counts) is computed apart from it and is the same whatever the record says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from edge_runtime.data.batches import label_counts
from edge_runtime.data.examples import ExampleSource
from edge_runtime.errors import DamagedError
from edge_runtime.store import Record, Store, pack
from edge_runtime.wire.label_prior import Weights, label_weights
from edge_runtime.wire.tensors import Array

RECORD: Final = "labels"


@dataclass(frozen=True, eq=False)
class OwnLabels:
    """Args: counts: [C], texts of each label; strength: of the label prior, one of its ``STRENGTHS``."""

    counts: Array
    strength: float

    @classmethod
    def of(cls, source: ExampleSource, labels: int, strength: float) -> Self:
        """Count the texts of each of C labels."""
        return cls(label_counts(source, np.arange(len(source), dtype=np.int64), labels), strength)

    @property
    def weights(self) -> Weights:
        """What probabilities are multiplied by, [C]."""
        return label_weights(self.counts, self.strength)


def remember(store: Store, own: OwnLabels) -> None:
    """Keep both for predictions with this state."""
    store.write(RECORD, Record({"strength": own.strength}, pack({"counts": own.counts})))


def recalled(store: Store, labels: int) -> OwnLabels | None:
    """Return what was kept for C labels; None when nothing was, or nothing that can be used."""
    record = store.recall(RECORD)
    try:
        counts = record.tensors().get("counts") if record is not None else None
    except DamagedError:
        return None
    if record is None or counts is None or counts.shape != (labels,):
        return None
    return OwnLabels(counts, float(record.head.get("strength", 0.0)))
