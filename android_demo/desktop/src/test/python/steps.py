"""What the Python device makes of packages: ``steps.py PACKAGE DATA``, one JSON object on stdout.

Class sums, a bank whose head starts from them, tasks with every step's loss and values, predictions with the trained
bank. Arrays are little-endian float32 in hex, ids and positions too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.data.examples import FileSource
from edge_runtime.inference.class_sums import class_sums
from edge_runtime.inference.predictor import Predictor
from edge_runtime.opened_package import Parts
from edge_runtime.training.trainer import Task, Tools, Trainer
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import class_mean_head
from edge_runtime.wire.experts import HEAD, ExpertId, shared_expert
from edge_runtime.wire.tensors import Array

STEPS = 24
SWITCHES = {6: 1, 12: 3, 18: 0}
"""Tier that a task with room in every tier goes on in, by step."""
READ = 6


def floats(values: Array) -> str:
    """Return an array as hex."""
    return np.ascontiguousarray(values, "<f4").tobytes().hex()


def by_block(blocks: dict[ExpertId, Array]) -> list[list[Any]]:
    """Return arrays by block as JSON holds them."""
    return [[block.layer, block.index, floats(values)] for block, values in sorted(blocks.items())]


def tasks(parts: Parts) -> list[Task]:
    """Return a task that fills some slots, trains a shared expert of one layer only, and the head; and a small one."""
    architecture = parts.manifest.architecture
    *others, last = architecture.adapted_layers
    large = [ExpertId(last, 3), ExpertId(last, 0), shared_expert(last), HEAD, *(ExpertId(layer, 1) for layer in others)]
    topk = architecture.gate == "topk"
    draw = np.random.default_rng(5)
    use = {layer: draw.uniform(0, 1, architecture.experts).astype(np.float32) for layer in architecture.adapted_layers}
    return [
        Task(tuple(large), STEPS, 0.01, 0.005, 0.002, 0.01, 2**63 + 5, (1.0, 0.1), use if topk else {}, 0.05),
        Task(tuple(ExpertId(layer, 2) for layer in architecture.adapted_layers), STEPS, 0.02, seed=7),
    ]


def run(tools: Tools, bank: Bank, task: Task, switches: dict[int, int]) -> tuple[dict[str, Any], Bank]:
    """Train a task; return what was seen at each step, and the bank after it."""
    trainer = Trainer(tools, bank, task)
    seen = []
    for step in range(task.steps):
        if step in switches:
            trainer.switch(tools.manifest.tiers[switches[step]])
        loss = trainer.step()
        inputs = trainer.step_inputs()
        seen.append({"loss": loss, "inputs": {name: floats(value) for name, value in inputs.items()}})
    outcome = trainer.outcome()
    told = {
        "train": [[block.layer, block.index] for block in task.train],
        "steps": task.steps,
        "rates": [task.learning_rate, task.shared_learning_rate, task.head_learning_rate, task.weight_decay],
        "seed": str(task.seed),
        "decay": list(task.decay),
        "use": [[layer, floats(use)] for layer, use in task.use.items()],
        "pressure": task.pressure,
        "switches": [[step, tier] for step, tier in switches.items()],
        "seen": seen,
        "blocks": by_block(outcome.blocks),
        "examples": outcome.examples,
        "label_counts": floats(outcome.label_counts),
        "routed": [floats(row) for row in outcome.routed],
        "seen_tokens": [floats(row) for row in outcome.seen],
    }
    return told, bank.replace(outcome.blocks)


def texts(source: FileSource) -> list[list[Any]]:
    """Return every text with its row of the head."""
    return [[text, int(label)] for text, label in zip(source.texts(range(len(source))), source.labels, strict=True)]


def main() -> None:
    """Do all of it."""
    with Parts.open(Path(sys.argv[1]), threads=1) as parts:
        source = parts.source(Path(sys.argv[2]))
        tier = parts.manifest.tiers[0]
        tools = Tools(parts.program, parts.manifest, parts.tokenizer, source, tier)
        sums = class_sums(parts.program, parts.manifest, parts.tokenizer, source, lambda _: None)
        bank = parts.initial_bank().replace(class_mean_head(sums, parts.manifest.architecture.logit_scale))
        large, small = tasks(parts)
        several = len(parts.manifest.tiers) > 1
        large_report, trained = run(tools, bank, large, {})
        small_report, _ = run(tools, bank, small, SWITCHES if several else {})
        predictor = Predictor(parts.program, parts.manifest, parts.tokenizer, trained)
        read = [predictor(text) for text in source.texts(range(READ))]
        together = predictor.many(source.texts(range(len(source))))
        told = {
            "examples": texts(source),
            "counts": floats(sums.counts),
            "sums": floats(sums.sums),
            "bank": bank.to_bytes(parts.manifest.architecture.digest()).hex(),
            "tasks": [large_report, small_report],
            "trained": trained.digest().hex(),
            "read": [[floats(probabilities), floats(feature)] for probabilities, feature in read],
            "together": [[floats(probabilities), floats(feature)] for probabilities, feature in together],
        }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
