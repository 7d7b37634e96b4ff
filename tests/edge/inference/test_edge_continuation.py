"""Continuing a text: which method is called, how a token is chosen, and what is shown while it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers

from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.inference.continuation import Sampling, Writer, chosen
from edge_runtime.opened_package import check_ids
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.errors import DataError, PackageError
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest import PACKAGE_FORMAT, Architecture, Backbone, Manifest
from edge_runtime.wire.program_interface import (
    PROGRAM_INTERFACE,
    MethodKind,
    MethodShape,
    ModelShape,
    TensorSpec,
    method_spec,
)

TEXT = "ab é"  # é is two bytes, so two tokens
END = 5
SHAPE = BankShape((0,), 2, 1, 0, 4, 0)


def _tokenizer(folder: Path) -> Tokenizer:
    """Bytes of TEXT as tokens: a 0, b 1, space 2, the two bytes of é 3 and 4, the end 5."""
    letters = ["a", "b", "Ġ", "Ã", "©"]
    library = Library(models.BPE({letter: place for place, letter in enumerate(letters)} | {"<end>": END}, []))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(["<end>"])
    library.save(str(folder / "tokenizer.json"))
    return Tokenizer(folder / "tokenizer.json")


def _manifest(lengths: tuple[int, ...]) -> Manifest:
    arch = Architecture(
        Backbone("toy", "llama", "0" * 64, 4, 1, 1), "causal-lm", (), "soft", 0, (0,), 2, 1, 0, "none", 1.0, END,
        "0" * 64, "0" * 64,
    )  # fmt: skip
    model, kind = ModelShape(SHAPE, vocabulary=6), MethodKind.PREDICT
    methods = {f"predict_s{length}": method_spec(model, MethodShape(kind, 2, 0, length, 1, 1)) for length in lengths}
    return Manifest(
        PACKAGE_FORMAT, 1, PROGRAM_INTERFACE, arch, "toy", {}, "none", "all", (), methods, tuple(methods), {}, "1.4.1",
        1, {},
    )  # fmt: skip


def test_a_tokenizer_with_more_ids_than_words_is_refused(tmp_path: Path) -> None:
    """Ids 0 to 5 are six words; a program of five would fail on the end token alone."""
    tokenizer, manifest = _tokenizer(tmp_path), _manifest((4,))
    for words in (6, 5):
        method = replace(manifest.methods["predict_s4"], outputs=(TensorSpec("probabilities", "float32", (1, words)),))
        package = replace(manifest, methods={"predict_s4": method})
        if words == 6:
            check_ids(tokenizer, package)
        else:
            with pytest.raises(PackageError, match="gives ids up to 5, and the program has 5 words; export"):
                check_ids(tokenizer, package)


class Parrot:
    """A program that says: after token t comes t + 1."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[int]]] = []

    def execute(self, method: str, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return probabilities of the token after the last real one."""
        assert set(inputs) == {"experts", "gate_scale", "ids", "positions", "attend", "readout"}
        count = int(np.flatnonzero(inputs["readout"][0])[0]) + 1
        assert inputs["readout"].sum() == 1
        assert inputs["positions"][0].tolist() == [*range(count), *[0] * (inputs["ids"].size - count)]
        assert (inputs["attend"][0, :count, :count] == 1).all()
        assert inputs["attend"].sum() == count * count
        self.calls.append((method, inputs["ids"][0, :count].tolist()))
        probabilities = np.full((1, 6), 0.02, np.float32)
        probabilities[0, (inputs["ids"][0, count - 1] + 1) % 6] = 0.9
        return {"probabilities": probabilities}


def _writer(folder: Path, lengths: tuple[int, ...] = (4,)) -> tuple[Writer, Parrot]:
    program = Parrot()
    return Writer(program, _manifest(lengths), _tokenizer(folder), Bank.zeros(SHAPE)), program


def test_a_prompt_is_continued_until_the_end_token(tmp_path: Path) -> None:
    """Greedy: a b, then the space and both bytes of é; half a character is not shown, the end ends it."""
    writer, program = _writer(tmp_path)
    assert list(writer.pieces("a", 20, Sampling())) == ["b", " ", "é"]
    assert program.calls[0] == ("predict_s4", [0])
    assert program.calls[-1] == ("predict_s4", [1, 2, 3, 4])  # the last four tokens only


def test_the_shortest_method_with_room_is_called(tmp_path: Path) -> None:
    """Two lengths of inference: the short one until the text is longer."""
    writer, program = _writer(tmp_path, (4, 2))
    list(writer.pieces("ab", 2, Sampling()))
    assert [method for method, _ in program.calls] == ["predict_s2", "predict_s4"]


def test_no_more_tokens_than_asked_for(tmp_path: Path) -> None:
    """A limit in the middle of a character shows what there is of it."""
    writer, _ = _writer(tmp_path)
    assert list(writer.pieces("a", 3, Sampling())) == ["b", " ", "\ufffd"]


def test_suggestions_are_the_likeliest_next_tokens(tmp_path: Path) -> None:
    """Best first, with probabilities; ties in the order of the vocabulary."""
    writer, _ = _writer(tmp_path)
    suggestions = writer.suggest("ab", 2)
    assert [text for text, _ in suggestions] == [" ", "a"]
    assert suggestions[0][1] == pytest.approx(0.9)


def test_a_prompt_without_tokens_is_refused(tmp_path: Path) -> None:
    """There is nothing to continue."""
    writer, _ = _writer(tmp_path)
    with pytest.raises(DataError, match="has no token"):
        next(writer.pieces("", 3, Sampling()))


def test_temperature_draws_with_the_powers_of_the_probabilities() -> None:
    """At temperature 1/2, shares 0.2 and 0.8 become 0.04 : 0.64, so 1/17 of the draws; 0 is greedy."""
    shares = np.array([0.2, 0.8, 0.0], np.float32)
    random = np.random.default_rng(1)
    drawn = [chosen(shares, 0.5, random) for _ in range(4000)]
    assert drawn.count(0) / 4000 == pytest.approx(1 / 17, abs=0.012)
    assert 2 not in drawn
    assert chosen(shares, 0.0, random) == 1


def test_the_same_seed_writes_the_same_text(tmp_path: Path) -> None:
    """Draws are repeatable; another seed writes another text."""
    writer, _ = _writer(tmp_path)
    texts = {seed: "".join(writer.pieces("a", 12, Sampling(3.0, seed))) for seed in range(4)}
    assert texts[1] == "".join(writer.pieces("a", 12, Sampling(3.0, 1)))
    assert len(set(texts.values())) > 1
