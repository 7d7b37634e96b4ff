"""benchmarks.fold: what it folds is what a gateway folds, and its figures are rates of what it says."""

from __future__ import annotations

import json

import pytest

from benchmarks import fold, sections
from broker_server.rules.admission import check_values


@pytest.mark.parametrize("words", [[], ["--topk"]])
def test_it_folds_what_a_gateway_accepts(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Its deltas stand the look at every value, and sums of pieces have the bits of sums of whole arrays."""
    assert fold.main(["--devices", "2", "--experts", "1", "--repeats", "1", "--json", *words]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["same_bits"]
    assert figures["share_of_copy"] == pytest.approx(figures["fold_gb_s"] / figures["copy_gb_s"], abs=0.01)
    shape = fold.shape_of(1)
    assert check_values(fold.delta_of(shape, 0), shape).refusal is None


def test_its_result_becomes_a_row_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """The newest run of each kind of gate, with where it was measured."""
    assert fold.main(["--devices", "1", "--experts", "1", "--repeats", "1", "--json"]) == 0
    where = {"command": fold.COMMAND, "date": "2026-11-29", "machine": "a machine", "commit": "abc"}
    run = json.loads(capsys.readouterr().out) | where
    text = sections.fold([run | {"devices": 7}, run, run | {"topk": True}])
    assert f"| 1 of {run['delta_mb']:.2f} MB, soft gates |" in text
    assert "7 of" not in text
    assert text.count("a machine, commit abc") == 2


def test_its_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """A person sees how it is called."""
    with pytest.raises(SystemExit) as ended:
        fold.main(["--help"])
    assert ended.value.code == 0
    assert "python -m benchmarks.fold --topk --json" in capsys.readouterr().out


def test_other_bits_are_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A benchmark of a wrong result is none."""
    monkeypatch.setattr(fold, "same", lambda *_: False)
    assert fold.main(["--devices", "1", "--experts", "1", "--repeats", "1"]) == 1
    assert "other bits" in capsys.readouterr().err
