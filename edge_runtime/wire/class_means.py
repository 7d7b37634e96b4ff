"""The start of a classifier's head: class means of frozen features (SPEC.md, "Start of a head"). Pure.

Axes: C labels, d width. A nearest-class-mean classifier (Mensink et al., IEEE TPAMI 35(11), 2013), here by the angle.
Taking the mean of all off is what tells labels apart where all features lie in a narrow cone: there class means are
nearly parallel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import BankError
from edge_runtime.wire.experts import HEAD, MEAN, ExpertId
from edge_runtime.wire.tensors import Array

ABSENT_LABEL: Final = -5.0
"""Bias of a label without examples, in `logit_scale`s: features, rows and the mean are at most 1 long, so every other
logit is above -2 of them."""
_LEAST_LENGTH: Final = 1e-12


@dataclass(frozen=True, eq=False)
class ClassSums:
    """Sums of frozen features by label.

    Args:
        counts: [C], examples of each label.
        sums: [C, d]; float32 as one device sends them, float64 when they were added up.
    """

    counts: npt.NDArray[np.floating[Any]]
    sums: npt.NDArray[np.floating[Any]]

    @classmethod
    def from_bytes(cls, counts: bytes, sums: bytes) -> ClassSums:
        """Return the sums that a ClassStatistics carries, once it was checked."""
        read = np.frombuffer(counts, "<f4").astype(np.float32)
        return cls(read, np.frombuffer(sums, "<f4").astype(np.float32).reshape(len(read), -1))

    @classmethod
    def total(cls, parts: Iterable[ClassSums]) -> ClassSums:
        """Add up devices in float64, in the order given.

        Raises:
            BankError: without any part.
        """
        listed = list(parts)
        if not listed:
            raise BankError("no class sums to add")
        counts, sums = listed[0].counts.astype(np.float64), listed[0].sums.astype(np.float64)
        for part in listed[1:]:
            counts, sums = counts + part.counts, sums + part.sums
        return cls(counts, sums)

    def message(self, device: str, federation_digest: bytes) -> bytes:
        """Return the bytes of a ClassStatistics."""
        return messages.encode(
            pb.ClassStatistics(
                device=device,
                federation_digest=federation_digest,
                width=self.sums.shape[1],
                counts=self.counts.astype("<f4").tobytes(),
                sums=self.sums.astype("<f4").tobytes(),
            )
        )


def class_mean_head(sums: ClassSums, logit_scale: float) -> dict[ExpertId, Array]:
    """Return the head's block [C * (d + 1)] and the mean's [d], float32, computed in float64.

    With N_c examples and the sum F_c of label c: mean = sum F / sum N, row c = F_c / N_c - mean, made 1 long, bias 0. A
    row without direction is 0. A label without examples gets a row of 0 and a bias below any logit, so that it is never
    predicted and no gradient moves it by chance.

    Raises:
        BankError: when there is no example at all.
    """
    counts, totals = sums.counts.astype(np.float64), sums.sums.astype(np.float64)
    examples = counts.sum()
    if not examples > 0:
        raise BankError("class sums of 0 examples; a head starts from at least one")
    present = counts > 0
    mean = totals.sum(axis=0) / examples
    rows = np.where(present[:, None], totals / np.where(present, counts, 1.0)[:, None] - mean, 0.0)
    length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    rows = np.where(length > _LEAST_LENGTH, rows / np.maximum(length, _LEAST_LENGTH), 0.0)
    bias = np.where(present, 0.0, ABSENT_LABEL * logit_scale)
    return {HEAD: np.concatenate([rows.reshape(-1), bias]).astype(np.float32), MEAN: mean.astype(np.float32)}
