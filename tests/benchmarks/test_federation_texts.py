"""One file of ids and weights: what is written is read, by numpy alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.demo.split import Example
from benchmarks.federation import corpus
from benchmarks.federation.texts import MIXED, Backbone, Part, TextSet, load, load_backbone, mixture, names, save

ROOT = Path(__file__).parents[2]


class Letters:
    """A tokenizer of one id for each letter, counted from 1000."""

    def encode(self, texts: list[str], length: int) -> list[list[int]]:
        """Return the ids of each text, cut."""
        return [[1000 + ord(letter) - ord("a") for letter in text][:length] for text in texts]


def letters(*rows: tuple[str, str], user: str = "") -> TextSet:
    """Return texts of which the last is held out, with ids of the uncut vocabulary."""
    examples = [Example(text, label, user) for text, label in rows]
    parts = {Part.TRAIN: examples[:-1], Part.VALIDATION: [], Part.TEST: examples[-1:]}
    return corpus.encoded(parts, Letters(), 3)  # type: ignore[arg-type]


def test_texts_are_cut_padded_and_numbered() -> None:
    """Ids are cut at the length, labels and users numbered in the order of their names."""
    texts = letters(("abcd", "y"), ("b", "x"), ("ca", "y"), user="ann")
    assert texts.ids.tolist() == [[1000, 1001, 1002], [1001, 0, 0], [1002, 1000, 0]]
    assert (texts.lengths.tolist(), texts.targets.tolist()) == ([3, 1, 2], [1, 0, 1])
    assert (texts.users.tolist(), texts.parts.tolist()) == ([0, 0, 0], [0, 0, 2])
    cut = corpus.renumbered(texts, np.array([0, 1000, 1001, 1002]))
    assert cut.ids.tolist() == [[1, 2, 3], [2, 0, 0], [3, 1, 0]]


def test_a_tenth_of_each_label_is_for_choices() -> None:
    """Of 20 texts of a label and 5 of another, three are held out, of both labels."""
    rows = [Example(f"{i}", "a") for i in range(20)] + [Example(f"{i}", "b") for i in range(5)]
    train, validation = corpus._without_tenth(rows)
    assert [row.label for row in validation] == ["a", "a", "b"]
    assert len(train) == 22


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    """Sets, the mixture over the union of their labels, and weights come back as they were."""
    one, two = letters(("abc", "y"), ("b", "x")), letters(("a", "z"), ("ab", "z"))
    table = np.arange(6, dtype=np.float16).reshape(3, 2)
    file = tmp_path / "F.npz"
    save(file, {"one": one, "two": two}, Backbone({"words": table}, 12, 1e-12))
    assert names(file) == ("one", "two")
    assert load(file, "one").ids.tolist() == one.ids.tolist()
    backbone = load_backbone(file)
    assert (backbone.weights["words"].tolist(), backbone.heads, backbone.eps) == (table.tolist(), 12, 1e-12)
    with pytest.raises(ValueError, match="no set 'three'; it has one, two"):
        load(file, "three")
    both = mixture([one, two])
    assert both.labels.tolist() == ["x", "y", "z"]
    assert both.targets.tolist() == [1, 0, 2, 2]
    assert both.origins.tolist() == [0, 0, 1, 1]
    assert both.ids.tolist() == [[1000, 1001, 1002], [1001, 0, 0], [1000, 0, 0], [1000, 1001, 0]]
    assert MIXED not in names(file)


def test_reading_needs_numpy_alone() -> None:
    """The machine with the accelerator has neither the tokenizer nor the exporter."""
    code = (
        "import sys, benchmarks.federation.texts, benchmarks.federation.splits\n"
        "heavy = {'torch', 'tokenizers', 'transformers', 'optimum', 'export', 'edge_runtime'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_bad_words_are_bad_usage(tmp_path: Path) -> None:
    """A file of another kind is refused before anything is read; a folder without sets is a failure."""
    command = [sys.executable, "-m", "benchmarks.federation.texts", "--out"]
    usage = subprocess.run([*command, "F.zip"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert usage.returncode == 2
    assert "--out must end in .npz" in usage.stderr
    words = [*command, str(tmp_path / "F.npz"), "--data", str(tmp_path)]
    empty = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert empty.returncode == 1
    assert "cannot read" in empty.stderr
