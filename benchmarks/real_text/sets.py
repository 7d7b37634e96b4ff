"""The data sets: their texts, or without them texts as long as theirs (the lengths stand in lengths.json)."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.quantization import texts
from benchmarks.quantization.texts import DataSet, Row

DATA: Final = Path(__file__).parents[3] / "shared" / "data"
LENGTHS: Final = Path(__file__).parent / "lengths.json"
WORDS: Final = (
    "time",
    "people",
    "house",
    "water",
    "music",
    "light",
    "money",
    "city",
    "table",
    "green",
    "open",
    "train",
)
"""Each is one token of the default tokenizer."""
_SPECIAL: Final = 2
"""Tokens that the tokenizer adds to a text."""


@dataclass(frozen=True)
class RealSet(DataSet):
    """A set. Args: padded: tokens of a row of the padded arm, by ``--seq-len``."""

    padded: int


SETS: Final = {
    "clinc150": RealSet("train.csv", "test.csv", 32),
    "hwu64": RealSet("train.csv", "test.csv", 32),
    "sst2": RealSet("train.csv", "test.csv", 64),
    "ag_news": RealSet("train.csv.gz", "test.csv", 64),
}


@dataclass(frozen=True)
class Recorded:
    """What is recorded of a set. Args: labels: how many; counts: training texts of 0, 1, 2, ... tokens, uncut."""

    labels: int
    counts: tuple[int, ...]


def recorded(name: str) -> Recorded:
    """Return the recorded distribution of a set's lengths."""
    record = json.loads(LENGTHS.read_text(encoding="utf-8"))[name]
    return Recorded(record["labels"], tuple(record["counts"]))


def is_there(name: str, data: Path) -> bool:
    """Return whether the set's files are below the folder ``data``."""
    return all((data / name / file).is_file() for file in (SETS[name].train, SETS[name].test))


def rows(name: str, data: Path, count: int) -> list[Row]:
    """Return training texts: all of the set's, or ``count`` that are as long as a set's that is not there."""
    if is_there(name, data):
        return texts.read(data / name / SETS[name].train)
    return drawn(recorded(name), count, seed=0)


def drawn(distribution: Recorded, count: int, seed: int) -> list[Row]:
    """Return ``count`` texts of single-token words, with lengths from a distribution and labels in turn."""
    choose = random.Random(seed)  # noqa: S311 - no secret
    lengths = choose.choices(range(len(distribution.counts)), distribution.counts, k=count)
    return [(_text(length, choose), f"label{number % distribution.labels:03}") for number, length in enumerate(lengths)]


def _text(length: int, choose: random.Random) -> str:
    return " ".join(choose.choices(WORDS, k=max(1, length - _SPECIAL)))


def distribution(lengths: Sequence[int], labels: int) -> dict[str, object]:
    """Return what lengths.json keeps of a set."""
    counts = [0] * (max(lengths) + 1)
    for length in lengths:
        counts[length] += 1
    return {"labels": labels, "counts": counts}
