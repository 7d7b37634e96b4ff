"""Figures of a run: what a client sees of a model, and a line that is read as it was written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.federation.figures import Cell, Curve, Run, own_accuracy, own_weights, run_of, worst_decile

CURVE = Curve((0.5, 0.6), (0.4, 0.7), (10.0,), (20.0,), (3.0,), (1.5,), (2,))


def test_a_line_is_read_as_it_was_written() -> None:
    """What tables and pictures see is what the run said, tuples and all."""
    run = Run("grid", Cell("trec", "iid", 2), "ours", 3, CURVE, own=(0.5, 0.9), trained=((1.0, 0.0),))
    assert run_of(run.line()) == run
    assert json.loads(run.line())["cell"]["texts"] == "trec"
    assert "\n" not in run.line()


def test_a_line_of_something_else_is_refused() -> None:
    """A file of another benchmark is named as such."""
    with pytest.raises(ValueError, match=r"not a run of benchmarks\.federation"):
        run_of('{"arms": {}}')


def test_a_client_weighs_test_texts_like_its_labels() -> None:
    """Three quarters of client 0's texts have label 0, of which a half is right: 0.75 * 0.5 + 0.25 * 1."""
    targets = np.array([0, 0, 1, 1, 1, 1])
    weights = own_weights(targets, np.array([[3.0, 1.0, 0.0], [0.0, 5.0, 9.0]]))
    correct = np.array([True, False, True, True, True, True])
    assert weights.sum(axis=1).tolist() == pytest.approx([1, 1])
    assert own_accuracy(correct, weights).tolist() == pytest.approx([0.625, 1.0])
    each = np.array([correct, ~correct])
    assert own_accuracy(each, weights).tolist() == pytest.approx([0.625, 0.0])
    with pytest.raises(ValueError, match=r"clients \[0\] have no label that is tested"):
        own_weights(targets, np.array([[0.0, 0.0, 1.0]]))


def test_the_worst_decile_is_a_tenth_of_the_clients() -> None:
    """Two of 20, and one of four."""
    assert worst_decile([0.9] * 18 + [0.2, 0.4]) == pytest.approx(0.3)
    assert worst_decile([0.9, 0.8, 0.1, 0.7]) == 0.1
