"""The accuracy benchmark: texts, the comparison, and what happens without data."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.quantization import __main__ as command
from benchmarks.quantization import texts

ROOT = Path(__file__).parents[2]


def test_points_lost_are_against_float32() -> None:
    """Means 0.80 and 0.78: 2 points; standard deviations of {0.7, 0.8, 0.9} and {0.77, 0.78, 0.79}."""
    summary = command.summary({"none": [0.7, 0.8, 0.9], "int8": [0.77, 0.78, 0.79]})
    assert summary["int8"]["points_lost"] == pytest.approx(2.0)
    assert summary["none"]["points_lost"] == 0
    assert [summary[arm]["spread"] for arm in ("none", "int8")] == pytest.approx([0.1, 0.01])
    assert command.summary({"int8": [0.5]})["int8"] == {
        "accuracy": [0.5], "mean": 0.5, "spread": 0.0, "points_lost": None,
    }  # fmt: skip


def test_texts_are_drawn_once_each_and_alike_for_a_seed(tmp_path: Path) -> None:
    """From a gzip file, 5 of 9; another seed draws others; more than there are gives all."""
    rows = [(f"text, {i}", f"label{i % 2}") for i in range(9)]
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows))
    read = texts.read(tmp_path / "a.csv.gz")
    assert read == rows
    assert texts.labels(read) == ["label0", "label1"]
    assert texts.padded(["label0", "label1"])[:3] == ["label0", "label1", "unused 2"]
    assert len(set(texts.padded(["label0", "label1"]))) == 151
    some = texts.chosen(read, 5, 1)
    assert (some == texts.chosen(read, 5, 1), len(set(some)), set(some) <= set(rows)) == (True, 5, True)
    assert some != texts.chosen(read, 5, 2)
    assert sorted(texts.chosen(read, 20, 0)) == rows
    assert texts.read(texts.write(tmp_path / "b.csv", some)) == some


def test_without_data_nothing_is_measured_and_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0: a machine without the sets is no failure."""
    assert command.main(["--data", str(tmp_path), "--sets", "trec"]) == 0
    told = capsys.readouterr()
    assert told.err == f"quantization: no trec in {tmp_path}; nothing was measured\n"
    assert told.out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sets", "nobody"), "--sets: got nobody, expected some of ag_news, clinc150, trec"),
        (("--arms", "int3"), "--arms: got int3, expected some of none, int8, int4"),
        (("--seeds", "0"), "must be at least 1"),
    ],
)
def test_bad_usage_is_refused(words: tuple[str, ...], said: str) -> None:
    """Exit status 2, and what was expected."""
    line = [sys.executable, "-m", "benchmarks.quantization", *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, said in done.stderr) == (2, True)
