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
    """A set below ../shared/data. Args: train, test: its files; seq_len: tokens that most of its texts fit in."""

    train: str
    test: str
    seq_len: int


SETS: Final = {
    "ag_news": DataSet("train.csv.gz", "test.csv", 64),
    "clinc150": DataSet("train.csv", "test.csv", 32),
    "trec": DataSet("train.csv", "test.csv", 32),
}


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


def write(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows as a device reads them."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(rows)
    return path
