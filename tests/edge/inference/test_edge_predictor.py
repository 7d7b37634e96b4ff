"""Which inference method texts take, alone and together, and what is kept of it in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toy

from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.inference.methods import Method, for_many, for_one
from edge_runtime.inference.predictor import Predictor
from edge_runtime.wire.packing import Capacity

TEXTS = ["wake me", "play song now", "", "rain sun please wake me at seven", "now " * 40, "sun"]
METHODS = tuple(
    Method(f"s{length}_r{rows}_b{batch}", 4, Capacity(rows, length, batch))
    for rows, length, batch in ((4, 64, 32), (1, 64, 1), (1, 32, 1), (1, 16, 1), (1, 8, 1))
)


class Loading(toy.ToyProgram):
    """Says what is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def execute(self, method: str, inputs: toy.Arrays) -> toy.Arrays:
        """Load what is executed."""
        if method not in self.loaded:
            self.loaded.append(method)
        return super().execute(method, inputs)

    def unload(self, method: str) -> None:
        """Forget it."""
        self.loaded.remove(method)


def open_predictor(folder: Path, short: Callable[[], bool] = lambda: False) -> tuple[Predictor, Loading]:
    """Return a predictor with the toy's bank."""
    package, program = toy.write_package(folder / "package"), Loading()
    tokenizer = Tokenizer(package.path("tokenizer.json"))
    return Predictor(program, package.manifest, tokenizer, toy.initial_bank(), short), program


@pytest.mark.parametrize(
    ("count", "name"), [(0, "s8_r1_b1"), (8, "s8_r1_b1"), (9, "s16_r1_b1"), (33, "s64_r1_b1"), (999, "s64_r1_b1")]
)
def test_one_text_takes_the_fewest_places_that_hold_it(count: int, name: str) -> None:
    """Longer texts than all take the longest and are cut there."""
    assert for_one(METHODS, count).name == name
    assert for_many(METHODS).name == "s64_r4_b32"


def test_texts_together_are_predicted_as_each_alone(tmp_path: Path) -> None:
    """In order, an empty text and one that is too long among them; calls take as many as fit."""
    predictor, program = open_predictor(tmp_path)
    together = list(predictor.many(TEXTS))
    assert program.calls == [toy.PACKED, toy.PACKED]  # four of 4, 5, 2 and 9 tokens, then 16 and 3 tokens
    program.calls.clear()
    for text, (probabilities, feature) in zip(TEXTS, together, strict=True):
        alone = predictor(text)
        np.testing.assert_allclose(probabilities, alone[0], rtol=1e-5)
        np.testing.assert_allclose(feature, alone[1], rtol=1e-5, atol=1e-6)
    assert program.calls == [toy.BRIEF, toy.BRIEF, toy.BRIEF, toy.WHOLE, toy.WHOLE, toy.BRIEF]


def test_no_texts_give_nothing(tmp_path: Path) -> None:
    """And call nothing."""
    predictor, program = open_predictor(tmp_path)
    assert list(predictor.many([])) == []
    assert program.calls == []


def test_texts_are_read_as_they_are_needed(tmp_path: Path) -> None:
    """A call needs four texts at most: of a stream without end nothing more is read."""
    predictor, _ = open_predictor(tmp_path)
    read: list[str] = []

    def endless() -> object:
        while True:
            read.append("wake me")
            yield "wake me"

    next(predictor.many(endless()))  # type: ignore[arg-type]
    assert len(read) == 4


def test_a_method_is_loaded_when_it_is_used_and_let_go_when_memory_is_short(tmp_path: Path) -> None:
    """With room, each method stays for the next text; without, one at a time; all go when prediction is over."""
    short = False
    predictor, program = open_predictor(tmp_path, lambda: short)
    predictor("wake me")
    assert program.loaded == [toy.BRIEF]
    predictor("rain sun please wake me at seven")
    assert program.loaded == [toy.BRIEF, toy.WHOLE]
    short = True
    predictor("wake me")
    assert program.loaded == [toy.BRIEF, toy.WHOLE]  # nothing is to be loaded
    list(predictor.many(TEXTS))
    assert program.loaded == [toy.PACKED]
    predictor.release()
    assert program.loaded == []
