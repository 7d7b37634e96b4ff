"""What the Python device makes of packages: ``steps.py PACKAGE DATA``, one JSON object on stdout.

Class sums, a bank whose head starts from them, tasks with every step's loss and values, predictions with the trained
bank; from that bank one task more where a tier has fewer layers, and its delta. Arrays are little-endian float32 in
hex, ids and positions too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.data.examples import FileSource
from edge_runtime.federation import delta
from edge_runtime.inference.class_sums import class_sums
from edge_runtime.inference.predictor import Predictor
from edge_runtime.opened_package import Parts
from edge_runtime.program import slots
from edge_runtime.training.trainer import Outcome, Task, Tools, Trainer
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import class_mean_head
from edge_runtime.wire.experts import HEAD, ExpertId, shared_expert
from edge_runtime.wire.fill import Fill
from edge_runtime.wire.tensors import Array

STEPS = 24
SWITCHES = {6: 1, 12: 3, 18: 0}
"""Tier that a task with room in every tier goes on in, by step."""
DEPTHS = {0: 1, 8: 0, 16: 1}
"""The same of a task of the upper layer: first the tier of that layer, then the one of all, then again the first."""
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


def upper_task(parts: Parts) -> Task:
    """Return a task that goes down no further than the last layer."""
    last = parts.manifest.architecture.adapted_layers[-1]
    train = (ExpertId(last, 1), ExpertId(last, 3), shared_expert(last), HEAD)
    return Task(train, STEPS, 0.01, 0.005, 0.002, 0.01, 11)


def depth_report(tools: Tools, bank: Bank, task: Task) -> dict[str, Any]:
    """Return a task's report, and the int8 delta of its outcome, as if its steps had taken no time."""
    told, trained = run(tools, bank, task, DEPTHS)
    upper = tools.manifest.tiers[DEPTHS[16]]
    blocks = {block: trained.block(block) for block in task.train}
    placed = slots.place(task.train, tools.manifest.architecture, upper)
    losses = tuple(seen["loss"] for seen in told["seen"])
    counts = np.frombuffer(bytes.fromhex(told["label_counts"]), "<f4")
    none = np.zeros(placed.held.shape, np.float32)
    outcome = Outcome(blocks, told["examples"], counts, losses, 0.0, none, none, Fill())
    body, _ = delta.build(delta.Origin("cy", bytes(32), 1, 1, pb.INT8), bank, placed, outcome, {}, topk=False)
    return {**told, "delta": body.hex()}


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
        tiers = parts.manifest.tiers
        deep = any(one.layers < tiers[0].layers for one in tiers)
        large_report, trained = run(tools, bank, large, {})
        small_report, _ = run(tools, bank, small, SWITCHES if len(tiers) > max(SWITCHES.values()) else {})
        upper = [depth_report(tools, trained, upper_task(parts))] if deep else []
        predictor = Predictor(parts.program, parts.manifest, parts.tokenizer, trained)
        read = [predictor(text) for text in source.texts(range(READ))]
        together = predictor.many(source.texts(range(len(source))))
        told = {
            "examples": texts(source),
            "counts": floats(sums.counts),
            "sums": floats(sums.sums),
            "bank": bank.to_bytes(parts.manifest.architecture.digest()).hex(),
            "tasks": [large_report, small_report],
            "upper": upper,
            "trained": trained.digest().hex(),
            "read": [[floats(probabilities), floats(feature)] for probabilities, feature in read],
            "together": [[floats(probabilities), floats(feature)] for probabilities, feature in together],
        }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
