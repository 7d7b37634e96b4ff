"""What a training run was worth: how a bank labels texts before and after, and what a user must be told of it. Pure.

Axes: N texts, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np

from edge_runtime.data.examples import ExampleSource, texts_of
from edge_runtime.inference.predictor import Predictor
from edge_runtime.wire.label_prior import STRENGTHS, label_weights, with_prior
from edge_runtime.wire.tensors import Array

SAMPLE: Final = 200
"""Texts of the training data that a run without held-out text is measured on."""


class Shortfall(StrEnum):
    """What a run did not reach. The app has the same two."""

    ONE_LABEL = "one_label"
    NO_BETTER = "no_better"


@dataclass(frozen=True)
class Score:
    """How a bank labels N texts.

    Args:
        right: how many get their own label.
        predicted: an index for each text.
        right_with_prior: how many do under a label prior of each strength, where one was asked for.
    """

    right: int
    predicted: tuple[int, ...]
    right_with_prior: Mapping[float, int] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Share of the texts that get their own label, in [0, 1]."""
        return self.right / len(self.predicted)

    @property
    def accuracy_with_prior(self) -> dict[float, float]:
        """Share of the texts that get their own label under a label prior, by its strength."""
        return {strength: right / len(self.predicted) for strength, right in self.right_with_prior.items()}


def sample(count: int, most: int = SAMPLE) -> list[int]:
    """Return at most ``most`` of ``count`` rows, evenly spread, ascending."""
    return [place * count // most for place in range(most)] if count > most else list(range(count))


def score(
    predictor: Predictor,
    source: ExampleSource,
    rows: Sequence[int],
    progress: Callable[[int], None],
    own: Array | None = None,
) -> Score:
    """Return how a bank labels the texts of ``rows``.

    Args:
        predictor: with the bank.
        source: of the texts.
        rows: of the source.
        progress: told after each text.
        own: the device's label counts, [C], to score label priors with, too.
    """
    weights = {strength: label_weights(own, strength) for strength in STRENGTHS if strength} if own is not None else {}
    predicted, right = [], dict.fromkeys(weights, 0)
    for row, (probabilities, _) in zip(rows, predictor.many(texts_of(source, rows)), strict=True):
        predicted.append(int(np.argmax(probabilities)))
        for strength, factors in weights.items():
            right[strength] += int(np.argmax(with_prior(probabilities, factors)) == source.labels[row])
        progress(1)
    plain = sum(label == source.labels[row] for label, row in zip(predicted, rows, strict=True))
    return Score(int(plain), tuple(predicted), right)


def shortfalls(before: Score, after: Score, labels: Sequence[int]) -> tuple[Shortfall, ...]:
    """Return what to tell of a run. Args: labels: the right ones, of the same texts as both scores.

    One label for all texts is no fault where they have one, and nothing is better than all right.
    """
    one = len(set(after.predicted)) == 1 < len(set(labels))
    no_better = after.right <= before.right and after.right < len(labels)
    told = ((Shortfall.ONE_LABEL, one), (Shortfall.NO_BETTER, no_better))
    return tuple(shortfall for shortfall, holds in told if holds)
