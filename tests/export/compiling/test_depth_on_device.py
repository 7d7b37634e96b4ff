"""A real program whose upper layer is trained above the experts of the lower ones, against the step of all layers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_runtime.__main__ import main
from edge_runtime.data.prefix_cache import PrefixCache
from edge_runtime.opened_package import Parts
from edge_runtime.program.slots import Need
from edge_runtime.training.pace import reaches
from edge_runtime.training.trainer import Outcome, Task, Tools, Trainer
from edge_runtime.training.watch import Watch
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, ExpertId, shared_expert

if TYPE_CHECKING:
    from export.packaging.pipeline import Built

Build = Callable[..., "Built"]
DEPTH = {"train_slots": None, "seq_len": None, "tiers": ((2, 12, 0), (2, 12, 1))}
"""A tier of all three layers and one of the upper layer."""
UPPER = (ExpertId(2, 0), ExpertId(2, 2), shared_expert(2), HEAD)
TASK = Task(UPPER, steps=9, learning_rate=0.01, shared_learning_rate=0.01, head_learning_rate=0.001, seed=3)


@pytest.fixture(scope="module")
def folder(build: Build) -> Path:
    """Return the package."""
    return build("depth", **DEPTH).package.folder


def version(parts: Parts, seed: int) -> Bank:
    """Return a bank as rounds leave one: every expert, shared expert and the head says something."""
    draw, bank = np.random.default_rng(seed), parts.initial_bank()
    return bank.replace(
        {
            block: bank.block(block) + (0.05 * draw.standard_normal(bank.shape.size(block))).astype(np.float32)
            for block in sorted(bank.shape.ids())
        }
    )


def tools_of(parts: Parts, data: Path, tier: int, cache: PrefixCache | None = None) -> Tools:
    """Return what trains in a tier: 0 of all layers, 1 of the upper one."""
    manifest = parts.manifest
    return Tools(parts.program, manifest, parts.tokenizer, parts.source(data), manifest.tiers[tier], cache=cache)


def finished(trainer: Trainer, steps: int = 99) -> Trainer:
    """Make so many steps, or all that are left."""
    while not trainer.done and steps > 0:
        trainer.step()
        steps -= 1
    return trainer


def moved(outcome: Outcome, bank: Bank) -> np.ndarray:
    """Return what training changed, all blocks behind each other."""
    return np.concatenate([outcome.blocks[block] - bank.block(block) for block in sorted(UPPER)])


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Return the cosine of two directions."""
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_the_upper_layer_learns_what_it_learns_with_all_layers_at_hand(folder: Path, data: Path) -> None:
    """Nine steps, prefixes as fp16: losses within 1 in 1,000, the same way. Other experts below are another model."""
    with Parts.open(folder, 1) as parts:
        bank = version(parts, 2)
        deep, upper = (replace(tools_of(parts, data, tier), rounding="fp16") for tier in (0, 1))
        whole = finished(Trainer(deep, bank, TASK)).outcome()
        above = finished(Trainer(upper, bank, TASK)).outcome()
        other = version(parts, 4)
        other = other.replace({block: bank.block(block) for block in bank.shape.ids() if block.layer >= 2})
        elsewhere = finished(Trainer(upper, other, TASK)).outcome()
    assert above.losses == pytest.approx(whole.losses, rel=1e-3)
    assert cosine(moved(above, bank), moved(whole, bank)) > 0.99
    assert np.abs(np.array(elsewhere.losses) / np.array(whole.losses) - 1).max() > 0.01


def test_training_moves_between_depths_and_ends_where_it_would_have(folder: Path, data: Path) -> None:
    """Three steps in each of all layers, the upper one, all again: every bit is carried, and the end is the same."""
    with Parts.open(folder, 1) as parts:
        bank, tools = version(parts, 2), replace(tools_of(parts, data, 0), rounding="fp16")
        still = finished(Trainer(tools, bank, TASK)).outcome()
        trainer = Trainer(tools, bank, TASK)
        for tier in (parts.manifest.tiers[1], parts.manifest.tiers[0]):
            finished(trainer, 3)
            before = {name: value.tobytes() for name, value in trainer.checkpoint().tensors.items()}
            trainer.switch(tier)
            assert {name: value.tobytes() for name, value in trainer.checkpoint().tensors.items()} == before
        outcome = finished(trainer).outcome()
    assert outcome.losses == pytest.approx(still.losses, rel=1e-3)
    assert cosine(moved(outcome, bank), moved(still, bank)) > 0.99


def test_prefixes_last_as_long_as_the_version_below(folder: Path, data: Path, tmp_path: Path) -> None:
    """Three epochs compute each text once; the next version keeps no old one; both end as without a cache."""
    with Parts.open(folder, 1) as parts:
        cache = PrefixCache(tmp_path / "prefixes", 1, pytest.fail)
        for count, seed in ((12, 2), (24, 4)):
            bank = version(parts, seed)
            kept = finished(Trainer(tools_of(parts, data, 1, cache), bank, TASK)).outcome()
            bare = finished(Trainer(tools_of(parts, data, 1), bank, TASK)).outcome()
            assert cache.use.misses == count
            assert len(list((tmp_path / "prefixes").iterdir())) == 12
            assert kept.losses == bare.losses
            assert all(kept.blocks[block].tobytes() == bare.blocks[block].tobytes() for block in UPPER)


def test_a_killed_run_of_the_upper_layer_ends_with_the_same_bytes(folder: Path, data: Path, tmp_path: Path) -> None:
    """Stopped in the second epoch and gone on with in a program opened anew, without what the cache had."""
    with Parts.open(folder, 1) as parts:
        bank = version(parts, 2)
        whole = finished(Trainer(tools_of(parts, data, 1), bank, TASK)).outcome()
        cache = PrefixCache(tmp_path / "prefixes", 1, pytest.fail)
        saved = finished(Trainer(tools_of(parts, data, 1, cache), bank, TASK), 5).checkpoint()
    with Parts.open(folder, 1) as parts:
        second = Trainer(tools_of(parts, data, 1), version(parts, 2), TASK)
        second.restore(saved)
        resumed = finished(second).outcome()
    assert resumed.losses == whole.losses
    assert all(resumed.blocks[block].tobytes() == whole.blocks[block].tobytes() for block in UPPER)


def test_a_device_tells_both_depths_and_what_a_step_takes_there(folder: Path, data: Path) -> None:
    """As export told, then as measured; a plan of the upper layer goes to the tier for it."""
    with Parts.open(folder, 1) as parts:
        deep, upper = parts.manifest.tiers
        watch = Watch(parts.manifest.tiers, deep)
        assert watch.begin(Need(2, 1)) == upper
        assert watch.begin(Need(2, 2)) == deep
        told = reaches(watch.tiers, watch.largest, {})
        assert list(told) == [1, 3]
        assert min(told[1].step_ms, told[1].trunk_ms, told[3].step_ms) > 0
        assert told[3].trunk_ms == 0
        trainer = finished(Trainer(tools_of(parts, data, 1), version(parts, 2), TASK))
        assert trainer.pace is not None
        measured = reaches(watch.tiers, watch.largest, {upper.method: trainer.pace})
        assert measured[1] == trainer.pace
        assert measured[3].step_ms == pytest.approx(told[3].step_ms * trainer.pace.step_ms / told[1].step_ms)


def test_doctor_shows_both_depths_and_train_takes_either(
    folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`doctor` times both tiers and the trunk; `train --tier l1_...` trains the upper layer's experts alone."""
    assert main(["doctor", "--package", str(folder), "--json", "--threads", "1"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["tier m2_f1_s12_r2_b4"]["detail"].startswith("all 3 layers, 2 of 3 slots trained")
    assert checks["tier l1_m2_f1_s12_r2_b4"]["detail"].startswith("the top 1 of 3 layers, 2 of 3 slots trained")
    assert "trunk_l1_s12_r8" in checks["prefixes"]["detail"]
    words = ["train", "--package", str(folder), "--data", str(data), "--steps", "4", "--threads", "1", "--json"]
    words += ["--prefix-cache", str(tmp_path / "prefixes"), "--out", str(tmp_path / "bank")]
    for tier, layers in (("l1_m2_f1_s12_r2_b4", [2]), ("auto", [0, 1, 2])):
        assert main([*words, "--tier", tier]) == 0
        assert json.loads(capsys.readouterr().out)["layers"] == len(layers)
        with Parts.open(folder, 1) as parts:
            bank = Bank.read(
                tmp_path / "bank" / "bank.safetensors",
                parts.manifest.architecture.bank_shape,
                parts.manifest.architecture.digest(),
            )
            changed = (bank.experts != parts.initial_bank().experts).any(axis=(1, 2))
        assert np.flatnonzero(changed).tolist() == layers
