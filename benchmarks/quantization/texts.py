"""The data sets, and the texts that one run trains and is tested on."""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Row = tuple[str, str]
"""Text and label."""


@dataclass(frozen=True)
class DataSet:
    """A set below the folder of data sets. Args: train, test: its files."""

    train: str
    test: str


SETS: Final = {
    "ag_news": DataSet("train.csv.gz", "test.csv"),
    "clinc150": DataSet("train.csv", "test.csv"),
    "trec": DataSet("train.csv", "test.csv"),
}
LABELS: Final = 151
"""Rows of every package's head, the most that a set needs, so that one program of each kind serves all sets.

A label without examples gets a bias below any logit (`edge_runtime.wire.class_means`): it is as if it were
not there.
"""


def read(path: Path) -> list[Row]:
    """Return the rows of a CSV with the columns text and label, gzip or not."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def chosen(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """Return ``count`` rows (all, if there are fewer), drawn without replacement."""
    return random.Random(seed).sample(list(rows), min(count, len(rows)))  # noqa: S311 - no secret


def labels(rows: Sequence[Row]) -> list[str]:
    """Return the distinct labels, sorted."""
    return sorted({label for _, label in rows})


def padded(names: Sequence[str]) -> list[str]:
    """Return labels with names of no text after them, LABELS in all."""
    return [*names, *(f"unused {number}" for number in range(len(names), LABELS))]


def write(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows as a device reads them."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(rows)
    return path
