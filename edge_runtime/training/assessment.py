"""What a training run was worth: how a bank labels texts before and after, and what a user must be told of it. Pure.

Axes: N texts, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from edge_runtime.data.examples import ExampleSource, texts_of
from edge_runtime.inference.predictor import Predictor

SAMPLE: Final = 200
"""Texts of the training data that a run without held-out text is measured on."""


class Shortfall(StrEnum):
    """What a run did not reach. The app has the same two."""

    ONE_LABEL = "one_label"
    NO_BETTER = "no_better"


@dataclass(frozen=True)
class Score:
    """How a bank labels N texts. Args: right: how many get their own label; predicted: an index for each text."""

    right: int
    predicted: tuple[int, ...]

    @property
    def accuracy(self) -> float:
        """Share of the texts that get their own label, in [0, 1]."""
        return self.right / len(self.predicted)


def sample(count: int, most: int = SAMPLE) -> list[int]:
    """Return at most ``most`` of ``count`` rows, evenly spread, ascending."""
    return [place * count // most for place in range(most)] if count > most else list(range(count))


def score(predictor: Predictor, source: ExampleSource, rows: Sequence[int], progress: Callable[[int], None]) -> Score:
    """Return how a bank labels the texts of ``rows``."""
    predicted = []
    for probabilities, _ in predictor.many(texts_of(source, rows)):
        predicted.append(int(np.argmax(probabilities)))
        progress(1)
    right = sum(label == source.labels[row] for label, row in zip(predicted, rows, strict=True))
    return Score(int(right), tuple(predicted))


def shortfalls(before: Score, after: Score, labels: Sequence[int]) -> tuple[Shortfall, ...]:
    """Return what to tell of a run. Args: labels: the right ones, of the same texts as both scores.

    One label for all texts is no fault where they have one, and nothing is better than all right.
    """
    one = len(set(after.predicted)) == 1 < len(set(labels))
    no_better = after.right <= before.right and after.right < len(labels)
    told = ((Shortfall.ONE_LABEL, one), (Shortfall.NO_BETTER, no_better))
    return tuple(shortfall for shortfall, holds in told if holds)
