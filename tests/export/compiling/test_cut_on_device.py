"""A real program trained above cached prefixes on the device runtime, against the program that is not cut."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_runtime.__main__ import main
from edge_runtime.data.prefix_cache import PrefixCache
from edge_runtime.opened_package import Parts
from edge_runtime.training.trainer import Task, Tools, Trainer
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import ExpertId

if TYPE_CHECKING:
    from export.packaging.pipeline import Built

Build = Callable[..., "Built"]
TASK = Task((ExpertId(1, 0), ExpertId(2, 1)), steps=9, learning_rate=0.01, seed=3)


def _tools(parts: Parts, data: Path, cache: PrefixCache | None) -> Tools:
    return Tools(
        parts.program, parts.manifest, parts.tokenizer, parts.source(data), parts.manifest.tiers[0], cache=cache
    )


def _start(parts: Parts) -> Bank:
    """Return version 0 with a small random head: its own is zeros, through which experts get no gradient."""
    bank = parts.initial_bank()
    bank.head[...] = 0.02 * np.random.default_rng(2).standard_normal(bank.head.size)
    return bank


def _finished(trainer: Trainer) -> Trainer:
    while not trainer.done:
        trainer.step()
    return trainer


def test_cut_and_whole_program_learn_the_same(build: Build, data: Path, tmp_path: Path) -> None:
    """Nine steps with prefixes as fp16: losses within 1 in 1,000, and the experts move the same way."""
    losses, moved = [], []
    for name, trunk in (("trunk", True), ("whole", False)):
        built = build(name, layers="last:2", trunk=trunk)
        with Parts.open(built.package.folder, 1) as parts:
            cache = PrefixCache(tmp_path / "prefixes", 1, pytest.fail)
            tools = replace(_tools(parts, data, cache), rounding="fp16")
            bank = _start(parts)
            outcome = _finished(Trainer(tools, bank, TASK)).outcome()
        losses.append(outcome.losses)
        moved.append(np.concatenate([outcome.blocks[e] - bank.experts[e.layer - 1, e.index] for e in TASK.train]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert float(moved[0] @ moved[1] / np.linalg.norm(moved[0]) / np.linalg.norm(moved[1])) > 0.99


def test_a_killed_run_ends_with_the_same_bytes_whatever_became_of_its_cache(
    build: Build, data: Path, tmp_path: Path
) -> None:
    """Stopped in the second epoch, the cache deleted, then on from the checkpoint in a program opened anew."""
    folder = build("trunk", layers="last:2").package.folder
    with Parts.open(folder, 1) as parts:
        cache = PrefixCache(tmp_path / "prefixes", 1, pytest.fail)
        whole = _finished(Trainer(_tools(parts, data, cache), _start(parts), TASK)).outcome()
        assert (cache.use.misses, cache.use.hits) == (12, 0)  # three epochs are read ahead together
        first = Trainer(_tools(parts, data, cache), _start(parts), TASK)
        for _ in range(5):
            first.step()
        saved = first.checkpoint()
    shutil.rmtree(tmp_path / "prefixes")
    with Parts.open(folder, 1) as parts:
        again = PrefixCache(tmp_path / "prefixes", 1, pytest.fail)
        second = Trainer(_tools(parts, data, again), _start(parts), TASK)
        second.restore(saved)
        resumed = _finished(second).outcome()
    assert resumed.losses == whole.losses
    for block in TASK.train:
        assert resumed.blocks[block].tobytes() == whole.blocks[block].tobytes()


def test_commands_tell_what_the_cache_did(
    build: Build, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`train --json` has hits, misses and bytes, another run finds all, 0 MB finds none; doctor tries the trunk.

    What is read ahead together, here both epochs, is looked for once.
    """
    folder = build("trunk", layers="last:2").package.folder
    words = ["train", "--package", str(folder), "--data", str(data), "--epochs", "2", "--json", "--threads", "1"]
    words += ["--prefix-cache", str(tmp_path / "prefixes")]
    told = []
    for more in ([], [], ["--prefix-cache-mb", "0"]):
        assert main([*words, *more]) == 0
        told.append(json.loads(capsys.readouterr().out))
    used = [(run["prefix_cache"]["hits"], run["prefix_cache"]["misses"]) for run in told]
    assert used == [(0, 12), (12, 0), (0, 12)]
    assert told[0]["prefix_cache"]["bytes"] == sum(
        path.stat().st_blocks * 512 for path in (tmp_path / "prefixes").iterdir()
    )
    assert len({run["bank_digest"] for run in told}) == 1
    assert main(["doctor", "--package", str(folder), "--json", "--threads", "1"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["prefixes"]["ok"]
    assert "trunk_s12" in checks["prefixes"]["detail"]
