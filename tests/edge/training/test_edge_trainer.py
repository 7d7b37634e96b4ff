"""Local steps: what moves, what must not, and that a run is the same run after a kill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from edge_runtime.data.examples import open_source
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.errors import ConfigError, DamagedError, PlanError
from edge_runtime.inference.class_sums import class_sums
from edge_runtime.inference.predictor import Predictor
from edge_runtime.store import Record, pack
from edge_runtime.training.heterogeneity import balance_target, balance_weight
from edge_runtime.training.local import Recipe, accuracy, stretches, train
from edge_runtime.training.micro_batches import run_step
from edge_runtime.training.trainer import Checkpoint, Task, Tools, Trainer
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, ExpertId, shared_expert
from edge_runtime.wire.manifest import Package

TRAIN = (ExpertId(1, 0), ExpertId(1, 2), ExpertId(3, 1), shared_expert(3))


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """The toy package."""
    return toy.write_package(tmp_path / "package")


@pytest.fixture
def tools(package: Package, tmp_path: Path) -> Tools:
    """Everything to train the toy with two slots."""
    source = open_source(toy.write_data(tmp_path / "data.csv"), toy.LABELS)
    ticks = iter(range(10**6))
    tokenizer = Tokenizer(package.path("tokenizer.json"))
    return Tools(toy.ToyProgram(), package.manifest, tokenizer, source, toy.TIERS[1], lambda: next(ticks) / 1000)


def task(**changes: Any) -> Task:
    """Return ten steps over TRAIN."""
    fields: dict[str, Any] = {"steps": 10, "learning_rate": 0.05, "shared_learning_rate": 0.02, "seed": 5}
    return Task(train=TRAIN, **{**fields, **changes})


def finish(trainer: Trainer) -> Trainer:
    """Make all steps."""
    while not trainer.done:
        trainer.step()
    return trainer


def test_the_loss_falls_and_only_planned_blocks_come_back(tools: Tools) -> None:
    """Ten steps learn something; the outcome names the plan's blocks."""
    outcome = finish(Trainer(tools, toy.initial_bank(), task())).outcome()
    assert outcome.loss_last < outcome.loss_first
    assert set(outcome.blocks) == set(TRAIN)
    assert len(outcome.losses) == 10
    assert outcome.step_ms == pytest.approx(1.0)  # the clock ticks 1 ms between two looks


def test_what_is_not_planned_stays_bit_identical(tools: Tools) -> None:
    """Free slots, other shared experts and the head keep their values through every step."""
    bank = toy.initial_bank()
    trainer = finish(Trainer(tools, bank, task()))
    values = trainer.checkpoint().tensors
    assert trainer.slots.held[1].tolist()[:2] == [1, 2]  # layer 3 trains expert 1; expert 2 fills the other slot
    assert values["trained"][1, 1].tobytes() == bank.experts[1, 2].tobytes()
    assert values["trained"][1, 0].tobytes() != bank.experts[1, 1].tobytes()
    assert values["shared"][0].tobytes() == bank.shared[0].tobytes()
    assert values["shared"][1].tobytes() != bank.shared[1].tobytes()
    assert values["head"].tobytes() == bank.head.tobytes()


def test_a_batch_in_parts_makes_the_same_run(tools: Tools) -> None:
    """Two micro-batches and an apply end where whole batches end, and tell the same losses and traffic."""
    whole = finish(Trainer(tools, toy.initial_bank(), task()))
    program = toy.ToyProgram()
    parts = finish(Trainer(replace(tools, program=program, tier=toy.IN_PARTS), toy.initial_bank(), task()))
    assert program.calls == [toy.IN_PARTS.method, toy.IN_PARTS.method, "apply_m2"] * 10
    np.testing.assert_allclose(parts.losses, whole.losses, rtol=1e-5)
    one, other = whole.outcome(), parts.outcome()
    for block, values in one.blocks.items():
        np.testing.assert_allclose(other.blocks[block], values, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(other.routed, one.routed, rtol=1e-5)
    np.testing.assert_array_equal(other.seen, one.seen)


def test_a_run_in_parts_goes_on_from_a_checkpoint_bit_for_bit(tools: Tools) -> None:
    """A checkpoint lies between optimizer steps and needs no sums; the resumed run is the uninterrupted one."""
    cut = replace(tools, tier=toy.IN_PARTS)
    straight = finish(Trainer(cut, toy.initial_bank(), task()))
    first = Trainer(cut, toy.initial_bank(), task())
    for _ in range(4):
        first.step()
    saved = first.checkpoint()
    assert not [name for name in saved.tensors if name.endswith("_sum")]
    second = Trainer(cut, toy.initial_bank(), task())
    second.restore(saved)
    finish(second)
    for name, values in straight.checkpoint().tensors.items():
        assert second.checkpoint().tensors[name].tobytes() == values.tobytes(), name


def test_parts_are_weighed_by_their_labels(tools: Tools) -> None:
    """Shares add up to 1 whatever the weights; a batch without weight has shares of 0 and a loss of 0."""
    shares: list[float] = []

    def execute(method: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        shares.extend(inputs["share"].tolist() if "share" in inputs else [])
        return toy.ToyProgram().execute(method, dict(inputs))

    trainer = Trainer(tools, toy.initial_bank(), task())
    step_inputs = trainer.step_inputs()
    step_inputs["labels"] = step_inputs["labels"] * np.array([[3.0], [1.0], [0.0], [4.0]], np.float32)
    run_step(execute, tools.manifest, toy.IN_PARTS, step_inputs)
    assert shares == [0.5, 0.5]
    step_inputs["labels"] = step_inputs["labels"] * np.array([[1.0], [1.0], [0.0], [0.0]], np.float32)
    run_step(execute, tools.manifest, toy.IN_PARTS, step_inputs)
    assert shares[2:] == [1.0, 0.0]
    step_inputs["labels"] = step_inputs["labels"] * np.float32(0)
    assert run_step(execute, tools.manifest, toy.IN_PARTS, step_inputs)["loss"].tolist() == [0.0]


def test_a_head_moves_only_when_it_is_planned(tools: Tools) -> None:
    """A rate without the block, or the block without a rate, changes nothing."""
    bank = toy.initial_bank()
    for train_head, rate, moves in ((False, 0.1, False), (True, 0.0, False), (True, 0.1, True)):
        blocks = (*TRAIN, HEAD) if train_head else TRAIN
        trainer = finish(Trainer(tools, bank, replace(task(head_learning_rate=rate), train=blocks)))
        assert (trainer.checkpoint().tensors["head"].tobytes() != bank.head.tobytes()) is moves


@pytest.mark.parametrize("killed_after", [1, 4, 9])
def test_a_resumed_run_ends_with_the_same_bits(tools: Tools, killed_after: int) -> None:
    """Through a checkpoint as the store writes it, at any step: values, losses and use are those of a whole run."""
    whole = finish(Trainer(tools, toy.initial_bank(), task())).outcome()
    first = Trainer(tools, toy.initial_bank(), task())
    for _ in range(killed_after):
        first.step()
    saved = first.checkpoint()
    record = Record(dict(saved.numbers), pack(saved.tensors))
    second = Trainer(tools, toy.initial_bank(), task())
    second.restore(Checkpoint(record.tensors(), record.head))
    resumed = finish(second).outcome()
    assert second.steps == 10
    assert resumed.losses == whole.losses
    assert resumed.routed.tobytes() == whole.routed.tobytes()
    assert resumed.seen.tobytes() == whole.seen.tobytes()
    for block in TRAIN:
        assert resumed.blocks[block].tobytes() == whole.blocks[block].tobytes()


def test_a_checkpoint_of_another_task_is_refused(tools: Tools) -> None:
    """Shapes tell: two experts in a layer are not one; the run at hand is unchanged."""
    two = replace(task(), train=(ExpertId(1, 0), ExpertId(1, 2)))
    saved = Trainer(tools, toy.initial_bank(), two).checkpoint()
    trainer = Trainer(tools, toy.initial_bank(), replace(task(), train=(ExpertId(1, 0), ExpertId(3, 1))))
    with pytest.raises(DamagedError, match="another task or program"):
        trainer.restore(saved)
    assert trainer.steps == 0


def test_examples_are_counted_once_and_by_label(tools: Tools) -> None:
    """24 examples: 2 steps of 4 see 8 of them, 10 steps see all."""
    short = finish(Trainer(tools, toy.initial_bank(), task(steps=2))).outcome()
    assert (short.examples, short.label_counts.sum()) == (8, 8)
    whole = finish(Trainer(tools, toy.initial_bank(), task())).outcome()
    assert (whole.examples, whole.label_counts.tolist()) == (24, [8, 8, 8])


def test_hyperparameters_follow_the_step(tools: Tools) -> None:
    """Bias corrections of Adam at t = 1 and 2, and a rate that falls from 1 to 0.5 of itself over two steps."""
    trainer = Trainer(tools, toy.initial_bank(), task(steps=2, decay=(1.0, 0.5), weight_decay=0.25))
    first = trainer._hyper()
    trainer.step()
    second = trainer._hyper()
    assert first == pytest.approx([0.05, 0, 0.25, 10, 1000, 0.02, 0, 0], rel=1e-5)
    assert second == pytest.approx([0.0375, 0, 0.25, 1 / 0.19, 1 / 0.001999, 0.015, 0, 0], rel=1e-5)


def test_topk_gets_its_target_and_weight_from_the_gateways_use(tmp_path: Path, tools: Tools) -> None:
    """Before the first step no divergence is known; a layer without statistics is not pushed."""
    package = toy.write_package(tmp_path / "topk", gate="topk", top_k=2)
    use = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    trainer = Trainer(
        replace(tools, manifest=package.manifest), toy.initial_bank(), task(use={1: use, 3: use[:2]}, pressure=0.02)
    )
    inputs = trainer._balance()
    held = trainer.slots.held[0]
    assert inputs["balance_target"][0] == pytest.approx(balance_target(use[held], 0.25))
    assert inputs["balance_target"][1] == pytest.approx([0.25] * 4)
    assert inputs["balance_weight"] == pytest.approx([balance_weight(0.02, 0, 4, 4), 0])
    trainer.step()
    assert 0 < trainer._balance()["balance_weight"][0] < 0.02


def test_a_plan_beyond_the_slots_is_refused(tools: Tools) -> None:
    """Three experts of one layer, two slots."""
    blocks = tuple(ExpertId(1, index) for index in range(3))
    with pytest.raises(PlanError):
        Trainer(tools, toy.initial_bank(), replace(task(), train=blocks))


def test_class_sums_by_hand(tools: Tools) -> None:
    """Sums of unit features, label by label, equal those of a plain loop over the embedding."""
    sums = class_sums(tools.program, tools.manifest, tools.tokenizer, tools.source, lambda _: None)
    program = tools.program
    assert isinstance(program, toy.ToyProgram)
    expected = np.zeros((3, 6))
    for row in range(24):
        (ids,) = tools.tokenizer.encode(tools.source.texts([row]), toy.S)
        mean = program.embedding[ids].mean(0)
        expected[tools.source.labels[row]] += mean / np.linalg.norm(mean)
    assert sums.counts.tolist() == [8, 8, 8]
    assert sums.sums == pytest.approx(expected, abs=1e-5)
    message = messages.decode(pb.ClassStatistics, sums.message("me", b"f" * 32))
    assert np.frombuffer(message.sums, "<f4").tobytes() == sums.sums.tobytes()


def recipe(**changes: Any) -> Recipe:
    """Return 12 steps over all experts, rotating every 4."""
    fields: dict[str, Any] = {
        "steps": 12, "learning_rate": 0.05, "shared_learning_rate": 0.0, "head_learning_rate": 0.0, "final": 0.1,
        "weight_decay": 0.0, "experts": (0, 1, 2, 3), "rotate_every": 4, "seed": 1,
    }  # fmt: skip
    return Recipe(**{**fields, **changes})


def test_rotation_goes_round_the_ring_with_falling_rates(package: Package) -> None:
    """Two slots, four experts: (0, 1), (2, 3), (0, 1); the rate falls linearly to a tenth."""
    tasks = list(stretches(recipe(), package.manifest.architecture, toy.TIERS[1]))
    assert [sorted({block.index for block in task.train}) for task in tasks] == [[0, 1], [2, 3], [0, 1]]
    assert [task.decay for task in tasks] == [
        pytest.approx((1, 0.7)), pytest.approx((0.7, 0.4)), pytest.approx((0.4, 0.1))
    ]  # fmt: skip
    assert len({task.seed for task in tasks}) == 3


def test_a_recipe_that_cannot_work_is_refused(package: Package) -> None:
    """Unknown experts; more experts than slots without rotation."""
    with pytest.raises(ConfigError, match="expected indices from 0 to 3"):
        list(stretches(recipe(experts=(4,)), package.manifest.architecture, toy.TIERS[1]))
    with pytest.raises(ConfigError, match="4 experts for 2 trained slots"):
        list(stretches(recipe(rotate_every=0), package.manifest.architecture, toy.TIERS[1]))


def test_local_training_learns_and_stops_when_asked(tools: Tools) -> None:
    """It gets better on its own data; asked to stop after 5 steps it returns what it has."""
    bank = toy.initial_bank()
    trained = train(tools, bank, recipe(), lambda _: None, lambda: False)
    assert trained.losses[-1] < trained.losses[0]
    assert len(trained.losses) == 12

    def score(of: Bank) -> float:
        predictor = Predictor(tools.program, tools.manifest, tools.tokenizer, of)
        return accuracy(predictor, tools.source, lambda _: None)

    assert score(trained.bank) > score(bank)
    told: list[float] = []
    stopped = train(tools, bank, recipe(), told.append, lambda: len(told) >= 5)
    assert len(stopped.losses) == 5
    assert stopped.bank.digest() != bank.digest()
