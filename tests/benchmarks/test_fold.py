"""benchmarks.fold: what it folds is what a gateway folds, and its figures are rates of what it says."""

from __future__ import annotations

import json

import pytest

from benchmarks import fold
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
