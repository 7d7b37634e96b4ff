"""The texts of a run as a stream: what each step takes, and that nothing is read twice or lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import toy
from tokenizers import Tokenizer as Library
from tokenizers import processors

from edge_runtime.data.batches import Reader
from edge_runtime.data.examples import EntryOrder, Labels
from edge_runtime.data.stream import TextStream
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.wire.packing import Capacity


@dataclass
class Listed:
    """Texts in memory; counts how often each was read."""

    own: list[str]
    digest: bytes = b""
    read: Counter[int] = field(default_factory=Counter)

    @property
    def labels(self) -> Labels:
        """Row 0, 1, 2, 0, ..."""
        return np.arange(len(self.own), dtype=np.int32) % 3

    def __len__(self) -> int:
        """Return N."""
        return len(self.own)

    def texts(self, rows: Sequence[int]) -> list[str]:
        """Return the texts of ``rows``."""
        self.read.update(rows)
        return [self.own[row] for row in rows]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Return the toy tokenizer: two tokens, and one for each word."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    toy.write_tokenizer(path)
    return Tokenizer(path)


def stream(source: Listed, tokenizer: Tokenizer, capacity: Capacity) -> TextStream:
    """Return a stream in a shuffled order."""
    return TextStream(Reader(source, tokenizer, 3, capacity.sequence), EntryOrder(4, len(source)), capacity)


def test_steps_take_every_text_once_an_epoch_and_read_it_once(tokenizer: Tokenizer) -> None:
    """Ten texts of 3 to 7 tokens in two rows of 8: steps of 2 to 4 texts, of which each has its own label."""
    source = Listed([" ".join(toy.WORDS[: 1 + row % 5]) for row in range(10)])
    texts, taken, sizes = stream(source, tokenizer, Capacity(2, 8, 4)), 0, []
    labels = np.zeros(3)
    while taken < 10:
        step = texts.step(taken)
        assert step.tokens == step.inputs["mask"].sum()
        assert step.inputs["labels"].sum() == step.texts
        labels += step.inputs["labels"].sum(0)
        taken += step.texts
        sizes.append(step.texts)
    assert min(sizes) >= 2
    assert max(sizes) > 2
    ahead = taken + 4 - sizes[-1] - 10
    assert sum(source.read.values()) <= 10 + ahead + 4
    assert set(source.read) == set(range(10))


def test_a_stream_goes_on_at_any_entry(tokenizer: Tokenizer) -> None:
    """A step that is asked of a fresh stream is the one of a stream that came by."""
    source = Listed([" ".join(toy.WORDS[: 1 + row % 5]) for row in range(10)])
    texts, taken = stream(source, tokenizer, Capacity(2, 8, 4)), 0
    for _ in range(9):
        step, fresh = texts.step(taken), stream(source, tokenizer, Capacity(2, 8, 4)).step(taken)
        assert {name: one.tobytes() for name, one in step.inputs.items()} == {
            name: one.tobytes() for name, one in fresh.inputs.items()
        }
        taken += step.texts


def test_a_capacity_below_one_text_cuts_it(tokenizer: Tokenizer) -> None:
    """One row of two places: each step takes one text, its first token and its last."""
    texts, taken = stream(Listed(["wake me now", "play"]), tokenizer, Capacity(1, 2, 4)), 0
    for _ in range(4):
        step = texts.step(taken)
        assert (step.texts, step.tokens) == (1, 2)
        assert step.inputs["ids"].tolist() == [[2, 3]]
        taken += step.texts


def test_a_text_without_tokens_is_taken_and_teaches_nothing(tmp_path: Path) -> None:
    """A tokenizer without special tokens makes nothing of an empty text: no place, no label, and the step goes on."""
    path = tmp_path / "tokenizer.json"
    toy.write_tokenizer(path)
    library = Library.from_file(str(path))
    library.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    library.save(str(path))
    plain = Tokenizer(path)
    step = stream(Listed(["", "", "", ""]), plain, Capacity(1, 4, 3)).step(0)
    assert (step.texts, step.tokens) == (3, 0)
    assert not any(one.any() for one in step.inputs.values())
    mixed = stream(Listed(["wake me", ""]), plain, Capacity(1, 4, 2)).step(0)
    assert (mixed.texts, mixed.tokens) == (2, 2)
    assert mixed.inputs["labels"].sum() == 1


def test_texts_that_are_read_ahead_change_no_step(tokenizer: Tokenizer) -> None:
    """Nine at a time, each once, and none beyond the steps that are left."""
    words = [" ".join(toy.WORDS[: 1 + row % 5]) for row in range(30)]
    one, other = Listed(words), Listed(words)
    plain, ahead = stream(one, tokenizer, Capacity(2, 8, 4)), stream(other, tokenizer, Capacity(2, 8, 4))
    ahead.ahead = 9
    taken = 0
    for left in range(5, 0, -1):
        step, same = plain.step(taken), ahead.step(taken, left)
        assert {name: array.tobytes() for name, array in same.inputs.items()} == {
            name: array.tobytes() for name, array in step.inputs.items()
        }
        taken += step.texts
        assert max(other.read.values()) == 1
        if left == 5:
            assert sum(other.read.values()) == 9
    assert sum(other.read.values()) <= taken + 4
