"""Real programs of several tiers: training that moves between them is the training that does not move.

Axes: L adapted layers, m trained slots, S sequence length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tiny_backbone import WORDS

from edge_runtime.data.examples import open_source
from edge_runtime.opened_package import Parts
from edge_runtime.store import Record, pack
from edge_runtime.training.tiers import by_name
from edge_runtime.training.trainer import Checkpoint, Outcome, Task, Tools, Trainer
from edge_runtime.wire.experts import HEAD, ExpertId, shared_expert

if TYPE_CHECKING:
    from export.packaging.pipeline import Built

Build = Callable[..., "Built"]
ALL = ("m2_f1_s12_r2_b4", "m1_f2_s12_r2_b4", "m2_f1_s8_r2_b4", "m1_f2_s8_r2_b4")
ONE_EACH = tuple(sorted([*(ExpertId(layer, layer) for layer in range(3)), *map(shared_expert, range(3)), HEAD]))
"""A plan of one expert in each layer, which every tier has room for."""
TWO_EACH = tuple(sorted([*ONE_EACH, *(ExpertId(layer, (layer + 1) % 3) for layer in range(3))]))


@pytest.fixture(scope="module")
def built(build: Build) -> Built:
    """Return a package of two slot counts by two lengths, in float32 so that differences are rounding only."""
    return build("four-tiers", train_slots=(1, 2), seq_len=(8, 12))


@pytest.fixture(scope="module")
def tools(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    """Return everything to train with the program as a device runs it; any four texts fit two of the shorter rows."""
    draw = np.random.default_rng(1)
    lines = [
        f"{' '.join(draw.choice(WORDS, size=2 + row % 3))},{('red', 'green', 'blue')[row % 3]}" for row in range(40)
    ]
    data = tmp_path_factory.mktemp("texts") / "texts.csv"
    data.write_text("text,label\n" + "\n".join(lines) + "\n")
    with Parts.open(built.package.folder) as parts:
        source = open_source(data, parts.manifest.architecture.labels)
        tier = by_name(parts.manifest, ALL[0])
        yield Tools(parts.program, parts.manifest, parts.tokenizer, source, tier)


def trainer(built: Built, tools: Tools, tier: str, train: tuple[ExpertId, ...]) -> Trainer:
    """Return a run of twelve steps in a tier."""
    task = Task(train, 12, learning_rate=0.02, shared_learning_rate=0.01, head_learning_rate=0.01, seed=3)
    with Parts.open(built.package.folder) as parts:
        bank = parts.initial_bank()
    bank.head[...] = 0.02 * np.random.default_rng(1).standard_normal(bank.head.size)
    return Trainer(replace(tools, tier=by_name(tools.manifest, tier)), bank, task)


def steps(run: Trainer, count: int) -> Trainer:
    """Make some steps."""
    for _ in range(count):
        run.step()
    return run


def learned(run: Trainer) -> dict[str, bytes]:
    """Return values, moments and sums as bytes."""
    return {name: value.tobytes() for name, value in run.checkpoint().tensors.items()}


def assert_alike(outcome: Outcome, wanted: Outcome) -> None:
    """Losses within 1e-4, what was learned within 1 % of how far it moved: twelve steps of AdamW amplify rounding."""
    assert outcome.losses == pytest.approx(wanted.losses, rel=1e-4)
    for block, value in wanted.blocks.items():
        assert np.linalg.norm(outcome.blocks[block] - value) <= 0.01 * 0.02 * 12 * value.size**0.5, block
    np.testing.assert_allclose(outcome.routed, wanted.routed[:, : outcome.routed.shape[1]], rtol=1e-3)


def test_all_tiers_are_methods_of_one_program(built: Built) -> None:
    """Largest first: the longer texts before the shorter, then more slots; each is proved and measured."""
    tiers = built.package.manifest.tiers
    assert [tier.method.removeprefix("train_") for tier in tiers] == list(ALL)
    assert all(tier.proof["gradient_error"] < 1e-4 and tier.measured.step_ms > 0 for tier in tiers)
    assert len({tier.measured.storage_mb for tier in tiers}) == 1


@pytest.mark.parametrize("to", ALL[1:])
def test_training_that_moves_is_the_training_that_does_not(built: Built, tools: Tools, to: str) -> None:
    """Five steps, four in another tier, three back; values and moments move to the bit, and the run ends the same."""
    still = steps(trainer(built, tools, ALL[0], ONE_EACH), 12).outcome()
    run = steps(trainer(built, tools, ALL[0], ONE_EACH), 5)
    before = learned(run)
    run.switch(by_name(tools.manifest, to))
    assert learned(run) == before
    steps(run, 4)
    before = learned(run)
    run.switch(by_name(tools.manifest, ALL[0]))
    assert learned(run) == before
    assert_alike(steps(run, 3).outcome(), still)


def test_a_plan_of_two_experts_moves_to_the_shorter_tier(built: Built, tools: Tools) -> None:
    """Both slots of every layer are carried, and swap no places."""
    still = steps(trainer(built, tools, ALL[0], TWO_EACH), 12).outcome()
    run = steps(trainer(built, tools, ALL[0], TWO_EACH), 6)
    run.switch(by_name(tools.manifest, ALL[2]))
    assert_alike(steps(run, 6).outcome(), still)


def test_a_checkpoint_of_the_largest_tier_goes_on_in_the_smallest(built: Built, tools: Tools, tmp_path: Path) -> None:
    """Through a file, into another run: the same as moving there, bit for bit."""
    moved = steps(trainer(built, tools, ALL[0], ONE_EACH), 6)
    saved = moved.checkpoint()
    path = tmp_path / "checkpoint"
    path.write_bytes(pack(saved.tensors))
    moved.switch(by_name(tools.manifest, ALL[3]))
    wanted = steps(moved, 6).outcome()
    run = trainer(built, tools, ALL[3], ONE_EACH)
    run.restore(Checkpoint(Record({}, path.read_bytes()).tensors(), saved.numbers))
    outcome = steps(run, 6).outcome()
    assert outcome.losses == wanted.losses
    assert {block: value.tobytes() for block, value in outcome.blocks.items()} == {
        block: value.tobytes() for block, value in wanted.blocks.items()
    }
