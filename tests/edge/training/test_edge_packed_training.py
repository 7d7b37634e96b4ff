"""Training on texts of all lengths: the same run after a kill at any step, in any form of a step, on bad input, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import toy
from tokenizers import Tokenizer as Library
from tokenizers import processors

from edge_runtime.data.examples import Labels
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.errors import DamagedError
from edge_runtime.store import Record, pack
from edge_runtime.training.local import steps_of_epochs
from edge_runtime.training.trainer import Checkpoint, Outcome, Task, Tools, Trainer
from edge_runtime.wire.experts import HEAD, ExpertId, shared_expert
from edge_runtime.wire.manifest import Package, Tier
from edge_runtime.wire.packing import Capacity, steps
from edge_runtime.wire.program_interface import ModelShape, method_spec

TASK = Task(
    (ExpertId(1, 0), ExpertId(3, 1), shared_expert(1), HEAD),
    steps=12,
    learning_rate=0.05,
    shared_learning_rate=0.02,
    head_learning_rate=0.01,
    seed=5,
)
TWO = toy.TIERS[1]
PADDED = replace(TWO, method=toy.train_shape(2, 2, rows=4).name, rows=4)
"""A row for each text."""


@dataclass
class Listed:
    """Texts in memory under the labels 0, 1, 2, 0, ..."""

    own: Sequence[str]
    digest: bytes = b""

    @property
    def labels(self) -> Labels:
        """Row of the head of each."""
        return np.arange(len(self.own), dtype=np.int32) % 3

    def __len__(self) -> int:
        """Return N."""
        return len(self.own)

    def texts(self, rows: Sequence[int]) -> list[str]:
        """Return the texts of ``rows``."""
        return [self.own[row] for row in rows]


UNEVEN = Listed([" ".join(toy.WORDS[row % 3 :][: 1 + 5 * row % 12]) for row in range(11)])
"""Of 3 to 12 tokens."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The toy package."""
    return toy.write_package(tmp_path_factory.mktemp("toy") / "package")


@pytest.fixture(autouse=True)
def padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the toy program have a tier with a row for each text."""
    monkeypatch.setitem(toy.METHODS, PADDED.method, method_spec(ModelShape(toy.SHAPE), toy.train_shape(2, 2, rows=4)))


@pytest.fixture
def tools(package: Package) -> Tools:
    """Everything to train the toy on uneven texts."""
    tokenizer = Tokenizer(package.path("tokenizer.json"))
    return Tools(toy.ToyProgram(), package.manifest, tokenizer, UNEVEN, TWO, lambda: 0.0)


@pytest.fixture(scope="module")
def plain(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer that adds nothing: an empty text has no token, a word one."""
    library = Library.from_file(str(package.path("tokenizer.json")))
    library.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    path = tmp_path_factory.mktemp("plain") / "tokenizer.json"
    library.save(str(path))
    return Tokenizer(path)


def finish(trainer: Trainer) -> Outcome:
    """Make all steps that are left."""
    while not trainer.done:
        trainer.step()
    return trainer.outcome()


def told(outcome: Outcome) -> object:
    """Return all that an outcome says, to the bit."""
    blocks = {block: values.tobytes() for block, values in outcome.blocks.items()}
    counted = (outcome.examples, outcome.label_counts.tolist(), outcome.fill)
    return blocks, outcome.losses, outcome.routed.tobytes(), outcome.seen.tobytes(), counted


@pytest.mark.parametrize("tier", [TWO, toy.IN_PARTS, toy.HALF, toy.CUT], ids=lambda tier: tier.method)
def test_a_run_killed_after_any_step_ends_with_the_same_bits(tools: Tools, tier: Tier) -> None:
    """Steps of two to four texts: what a step takes depends on those before, and the checkpoint says where it is."""
    tools = replace(tools, tier=tier)
    whole = Trainer(tools, toy.initial_bank(), TASK)
    saved = []
    while not whole.done:
        whole.step()
        checkpoint = whole.checkpoint()
        saved.append(Record(dict(checkpoint.numbers), pack(checkpoint.tensors)))
    outcome = told(whole.outcome())
    taken = [0, *(record.head["taken"] for record in saved)]
    assert len(set(np.diff(taken).tolist())) > 1
    for record in saved:
        other = Trainer(tools, toy.initial_bank(), TASK)
        other.restore(Checkpoint(record.tensors(), record.head))
        assert told(finish(other)) == outcome


def test_a_packed_step_is_the_padded_step(tools: Tools) -> None:
    """The same texts, four rows or two: the same loss and the same new values, to rounding."""
    packed = Trainer(tools, toy.initial_bank(), TASK)
    count = packed.step_inputs()["labels"].sum()
    padded = Trainer(replace(tools, tier=PADDED), toy.initial_bank(), TASK)
    inputs = padded.step_inputs()
    inputs["labels"][int(count) :] = 0  # the padded step has room for more
    wanted = toy.ToyProgram().execute(PADDED.method, inputs)
    outputs = toy.ToyProgram().execute(TWO.method, packed.step_inputs())
    assert outputs["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
    for name in ("trained_m1", "shared_m1", "head_m1"):  # a tenth of the gradient
        np.testing.assert_allclose(outputs[name], wanted[name], rtol=1e-4, atol=1e-6)


def test_a_part_without_tokens_is_not_called(tools: Tools) -> None:
    """Four texts of three tokens fill one row of 16: the second part has nothing, and the step is the whole one."""
    short = replace(tools, source=Listed(["wake", "play", "rain"]))
    program = toy.ToyProgram()
    parts = Trainer(replace(short, program=program, tier=toy.IN_PARTS), toy.initial_bank(), TASK)
    whole = Trainer(short, toy.initial_bank(), TASK)
    assert parts.step() == pytest.approx(whole.step(), rel=1e-6)
    assert program.calls == [toy.IN_PARTS.method, toy.IN_PARTS.apply_method]
    np.testing.assert_allclose(parts.outcome().routed, whole.outcome().routed, rtol=1e-5)


@pytest.mark.parametrize("tier", [TWO, toy.IN_PARTS], ids=["whole", "in parts"])
def test_texts_without_tokens_teach_nothing(tools: Tools, plain: Tokenizer, tier: Tier) -> None:
    """Their steps have a loss of 0, move nothing, and end: the texts count as taken."""
    bank = toy.initial_bank()
    trainer = Trainer(replace(tools, tokenizer=plain, source=Listed(["", ""]), tier=tier), bank, TASK)
    outcome = finish(trainer)
    assert set(outcome.losses) == {0.0}
    assert not outcome.seen.any()
    assert (outcome.fill.texts, outcome.fill.tokens) == (48, 0)
    for block, values in outcome.blocks.items():
        assert values.tobytes() == bank.block(block).tobytes()


def test_ten_thousand_texts_of_one_token_are_all_trained_on(tools: Tools, plain: Tokenizer) -> None:
    """Four a step, whatever would fit: 2,500 steps are an epoch."""
    assert steps_of_epochs(1, [1] * 10_000, Capacity(2, 16, 4), seed=3) == 2_500
    source = Listed([toy.WORDS[row % 10] for row in range(10_000)])
    outcome = finish(Trainer(replace(tools, tokenizer=plain, source=source), toy.initial_bank(), TASK))
    assert (outcome.examples, outcome.fill.texts, outcome.fill.tokens) == (48, 48, 48)


def test_a_text_longer_than_a_row_is_cut_and_trained_on(tools: Tools) -> None:
    """Forty words in rows of 16: one text a row, two a step; of a shorter tier it takes the first tokens."""
    source = Listed(["now " * 40, "me " * 40, "rain " * 40])
    for tier, tokens in ((TWO, 32), (toy.HALF, 16), (toy.SHORT, 32)):
        trainer = Trainer(replace(tools, source=source, tier=tier), toy.initial_bank(), TASK)
        inputs = trainer.step_inputs()
        assert inputs["mask"].sum() == tokens
        assert inputs["positions"].max() == tier.seq_len - 1
        assert (inputs["ids"][:, -1] == 3).all()  # the tokenizer's last survives the cut


def test_what_was_counted_is_what_was_taken(tools: Tools) -> None:
    """Examples, labels and fill of three steps, from the lengths and the contract's packing alone."""
    trainer = Trainer(tools, toy.initial_bank(), replace(TASK, steps=3))
    outcome = finish(trainer)
    order = [trainer._order.row(entry) for entry in range(22)]
    lengths = [len(tokens) for tokens in tools.tokenizer.encode(UNEVEN.texts(order), 16)]
    taken = sum(steps(lengths, Capacity(2, 16, 4))[:3])
    assert taken < 11
    assert outcome.examples == outcome.fill.texts == taken
    assert outcome.label_counts.tolist() == [sum(row % 3 == label for row in order[:taken]) for label in range(3)]
    assert (outcome.fill.tokens, outcome.fill.places) == (sum(lengths[:taken]), 96)
    assert outcome.seen[0, 0] == outcome.fill.tokens


def test_a_checkpoint_that_does_not_say_where_it_stands_is_refused(tools: Tools) -> None:
    """One of before steps were packed: the round starts again."""
    trainer = Trainer(tools, toy.initial_bank(), TASK)
    trainer.step()
    saved = trainer.checkpoint()
    numbers = {name: value for name, value in saved.numbers.items() if name != "taken"}
    with pytest.raises(DamagedError, match="the round starts again"):
        Trainer(tools, toy.initial_bank(), TASK).restore(Checkpoint(saved.tensors, numbers))
