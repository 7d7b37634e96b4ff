"""Evaluation through ONNX Runtime against arithmetic done apart from it."""

from __future__ import annotations

import queue
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from tokenizers import Tokenizer

from broker_server.display import describe
from broker_server.errors import EvaluationError
from broker_server.evaluation.gain import class_means_version, no_better_than
from broker_server.evaluation.onnx_model import Examples, Figures, Model, measure, read_examples
from broker_server.evaluation.worker import Evaluated, Evaluator
from broker_server.state.rows import VersionRow
from edge_runtime.data.tokenizer import Tokenizer as DeviceTokenizer
from edge_runtime.wire.bank import Bank

TEXTS = ("rose", "rose leaf", "sky sky rose stone", "leaf leaf leaf")


def test_probabilities_are_the_models(tmp_path: Path) -> None:
    """softmax(20 W (f - mean) + b) with features computed by hand; texts of several lengths come back in order."""
    model = Model(tiny.make_package(tmp_path))
    bank = tiny.bank(3)
    tokens = model.encode(Examples("x", TEXTS, (0, 0, 0, 0)))
    probabilities = model.probabilities(bank, tokens)
    weight, bias = bank.head[:12].reshape(3, 4), bank.head[12:]
    logits = 20 * (tiny.features(list(TEXTS)) - bank.mean) @ weight.T + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)


def test_long_texts_are_cut_as_on_devices(tmp_path: Path) -> None:
    """The predict method takes 8 tokens."""
    model = Model(tiny.make_package(tmp_path))
    assert [len(ids) for ids in model.encode(Examples("x", ("rose " * 20, "sky"), (0, 0)))] == [8, 1]


def test_typed_special_tokens_are_text_as_on_devices(tmp_path: Path) -> None:
    """[SEP] is a bracket, a word and a bracket, which are unknown (0) here; and a text's end does not count."""
    package = tiny.make_package(tmp_path)
    path = tmp_path / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens(["[SEP]"])
    path.write_text(tokenizer.to_str(), encoding="utf-8")
    texts = ("[SEP] rose", " " * 2048 + "rose")  # 256 characters for each of 8 tokens
    tokens = Model(package).encode(Examples("x", texts, (0, 0)))
    assert tokens == [[0, 0, 0, tiny.WORDS.index("rose") + 1], []]
    assert tokens[0] == DeviceTokenizer(path).tokens(texts[0])


def test_figures() -> None:
    """Four texts of two labels, three right: accuracy 3/4; F1 of label 0: 2*2/(2*2+1) = .8, of label 1: 2/(2+1)."""
    probabilities = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.6, 0.4, 0], [0.1, 0.9, 0]], np.float32)
    figures = measure(probabilities, (0, 0, 1, 1))
    assert figures == Figures(0.75, pytest.approx((0.8 + 2 / 3) / 2), 4)


def test_a_version_that_tells_nothing_apart_is_told() -> None:
    """Label 0 for all texts, which have two; no fault where all texts have one."""
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
    assert measure(probabilities, (0, 1)).one_label
    assert not measure(probabilities, (0, 0)).one_label
    line = describe({"event": "evaluated", "version": 3, **measure(probabilities, (0, 1)).plain()})
    assert line.endswith("on 2 texts; every text gets the same label")


def test_a_merged_version_that_is_no_better_than_class_means_is_told() -> None:
    """Version 2 is the last whose head alone has learned; later ones label more texts right, or are told."""
    reasons = ("initial", "head", "head", "merge", "head", "merge")
    versions = [VersionRow(number, None, b"", 0, 0, reason, 0.0, b"", None) for number, reason in enumerate(reasons)]
    measured = {1: 0.9, 2: 0.75, 3: 0.5}
    assert class_means_version(versions) == 2
    assert class_means_version(versions[:1]) is None
    told = [no_better_than(number, Figures(0.75, 0.7, 4), versions, measured) for number in range(6)]
    assert told == [None, None, None, 2, 2, 2]
    assert no_better_than(3, Figures(1.0, 1.0, 4), versions, {2: 1.0}) is None  # nothing is better than all right
    assert no_better_than(3, Figures(0.8, 0.7, 4), versions, measured) is None
    assert no_better_than(3, Figures(0.1, 0.1, 4), versions, {1: 0.9}) is None  # on other texts, perhaps
    line = describe({"event": "evaluated", "version": 3, **Figures(0.75, 0.7, 1).plain(), "no_better_than": 2})
    assert line.endswith("macro-F1 0.7000 on 1 text; no better than version 2, which is class means alone")


def test_limit_spreads_over_the_file(tmp_path: Path) -> None:
    """Two of four rows: the first and the third; the name tells."""
    package = tiny.make_package(tmp_path / "package")
    (tmp_path / "data.csv").write_text("label,text\nred,1\nred,2\ngreen,3\nblue,4\n")
    examples = read_examples(tmp_path / "data.csv", package.manifest, limit=2)
    assert (examples.texts, examples.labels) == (("1", "3"), (0, 1))
    assert examples.name.endswith("[2]")
    assert len(read_examples(tmp_path / "data.csv", package.manifest).texts) == 4


def test_broken_model_is_told(tmp_path: Path) -> None:
    """Its digest was right when it was opened."""
    package = tiny.make_package(tmp_path)
    (tmp_path / "gateway/model.onnx").write_bytes(b"no model")
    with pytest.raises(EvaluationError, match="no usable gateway model"):
        Model(package)


def test_background_evaluator_goes_on_after_a_failure(tmp_path: Path) -> None:
    """A bank of another shape cannot be measured; the next one can."""
    package = tiny.make_package(tmp_path / "package")
    (tmp_path / "data.csv").write_text("text,label\nrose,red\n")
    results: queue.Queue[Evaluated] = queue.Queue()
    evaluator = Evaluator(package, tmp_path / "data.csv", results.put)
    good = tiny.bank()
    evaluator.submit(1, None)  # type: ignore[arg-type]
    evaluator.submit(2, good)
    came = [results.get(timeout=30) for _ in range(2)]
    evaluator.stop()
    assert [(result.version, result.figures is None, bool(result.failure)) for result in came] == [
        (1, True, True),
        (2, False, False),
    ]


def test_a_measurement_that_would_go_on_ends_when_it_is_stopped(tmp_path: Path) -> None:
    """Its thread is gone then, and nothing is told of the version, which the next start measures."""
    package = tiny.make_package(tmp_path / "package")
    (tmp_path / "data.csv").write_text("text,label\nrose,red\n")
    results: list[Evaluated] = []
    evaluator = Evaluator(package, tmp_path / "data.csv", results.append)
    measured, held_out = threading.Event(), evaluator._held_out

    def endless(bank: Bank) -> Figures:
        while True:
            held_out.measure(bank)
            measured.set()

    evaluator._held_out = replace(held_out, measure=endless)
    evaluator.submit(1, tiny.bank())
    assert measured.wait(30)
    evaluator.stop()
    assert not evaluator._thread.is_alive()
    assert results == []
