"""The demo's text: what DATA.md promises of ``assistant.csv`` holds in the file."""

from __future__ import annotations

import csv
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "benchmarks" / "demo"
LABELS = ROOT / "export" / "labels" / "assistant.txt"
SHARED_WORDS = 0.6  # two texts with this Jaccard similarity of their words count as near-duplicates
TOP_LABELS = 6
TOP_SHARE = 0.65  # of a person's rows, at least this much in their TOP_LABELS labels

Row = dict[str, str]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Every row of the file, in file order."""
    with (DEMO / "assistant.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def words(text: str) -> tuple[str, ...]:
    """Words of a text without letter case and punctuation."""
    return tuple(re.findall(r"\w+", text.casefold()))


def test_columns(rows: list[Row]) -> None:
    """Every row has exactly the four promised columns, trimmed and not empty."""
    for row in rows:
        assert list(row) == ["text", "label", "user", "split"]
        assert all(value and value == value.strip() for value in row.values()), row
        assert row["split"] in {"train", "test"}


def test_counts(rows: list[Row]) -> None:
    """About a thousand rows by a dozen people over 22 labels, a quarter of them for testing."""
    assert 1000 <= len(rows) <= 1100
    assert len({row["user"] for row in rows}) == 12
    assert len({row["label"] for row in rows}) == 22
    held_out = sum(row["split"] == "test" for row in rows) / len(rows)
    assert 0.23 <= held_out <= 0.27


def test_no_duplicates(rows: list[Row]) -> None:
    """No text occurs twice and no two texts share most of their words, case and punctuation aside."""
    spoken = [words(row["text"]) for row in rows]
    assert [text for text, count in Counter(spoken).items() if count > 1] == []
    sets = [frozenset(text) for text in spoken]
    close = [(a, b) for a, b in combinations(sets, 2) if len(a & b) >= SHARED_WORDS * len(a | b)]
    assert close == []


def test_labels_file(rows: list[Row]) -> None:
    """The labels file that exports read is the file's labels, sorted, one a line."""
    expected = "".join(f"{label}\n" for label in sorted({row["label"] for row in rows}))
    assert LABELS.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize("split", ["train", "test"])
def test_splits_cover(rows: list[Row], split: str) -> None:
    """Both splits hold every label ten times or more and every person fifteen times or more."""
    part = [row for row in rows if row["split"] == split]
    labels = Counter(row["label"] for row in part)
    users = Counter(row["user"] for row in part)
    assert labels.keys() == {row["label"] for row in rows}
    assert users.keys() == {row["user"] for row in rows}
    assert min(labels.values()) >= 10
    assert min(users.values()) >= 15


def test_skew(rows: list[Row]) -> None:
    """Six labels make up most of every person's rows, and no two people have the same six."""
    favourites: list[frozenset[str]] = []
    for user in sorted({row["user"] for row in rows}):
        own = Counter(row["label"] for row in rows if row["user"] == user)
        top = own.most_common(TOP_LABELS)
        assert sum(count for _, count in top) >= TOP_SHARE * own.total(), user
        favourites.append(frozenset(label for label, _ in top))
    assert len(set(favourites)) == len(favourites)


def test_documented_counts(rows: list[Row]) -> None:
    """The counts in DATA.md are those of the file."""
    text = (DEMO / "DATA.md").read_text(encoding="utf-8")
    for column in ("label", "user"):
        for name in {row[column] for row in rows}:
            split = Counter(row["split"] for row in rows if row[column] == name)
            assert f"| `{name}` | {split['train']} | {split['test']} |" in text
