"""Prints deltas of random training: inputs, bytes, and what the codec left behind (edge_runtime.federation.delta).

Arrays are little-endian float32 in hex. Each case is several rounds of one device, whose residuals go on to the next.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from edge_runtime.federation import delta
from edge_runtime.program import slots
from edge_runtime.training.trainer import Outcome
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId, shared_expert
from edge_runtime.wire.fill import Fill
from edge_runtime.wire.manifest import PACKAGE_FORMAT, Architecture, Backbone, Cost, FileEntry, Manifest, Tier
from edge_runtime.wire.program_interface import PROGRAM_INTERFACE, MethodKind, MethodShape, ModelShape, method_spec
from edge_runtime.wire.tensors import Array

SHAPE = BankShape(layers=(1, 4), experts=5, rank=3, shared_rank=2, width=24, labels=3)
FREE = Cost(0.0, 0.0, 0.0, 0, 0)
TIER = Tier("train", 2, 1, 8, 3, 4, len(SHAPE.layers), FREE, FREE)
ROUNDS = 3


def manifest(gate: str) -> Manifest:
    """Return the manifest of a package of SHAPE; its files are names only."""
    digest = "a" * 64
    architecture = Architecture(
        backbone=Backbone("tiny", "bert", digest, SHAPE.width, 6, 1000), task="classification", labels=("a", "b", "c"),
        gate=gate, top_k=1 if gate == "topk" else 0, adapted_layers=SHAPE.layers, experts=SHAPE.experts,
        rank=SHAPE.rank, shared_rank=SHAPE.shared_rank, feature="mean_pool_l2", logit_scale=20.0, end_token=-1,
        tokenizer_digest=digest, bank_digest=digest,
    )  # fmt: skip
    files = {name: FileEntry(digest, 1) for name in ("program.pte", "tokenizer.json", "bank.safetensors")}
    model, held = ModelShape(SHAPE, architecture.top_k or None), TIER.held_slots
    shapes = {
        "train": MethodShape(
            MethodKind.TRAIN, TIER.trained_slots, TIER.frozen_slots, TIER.seq_len, TIER.rows, TIER.batch_size
        ),
        "predict": MethodShape(MethodKind.PREDICT, held, 0, TIER.seq_len, 1, 1),
    }
    methods = {name: method_spec(model, shape) for name, shape in shapes.items()}
    return Manifest(
        package_format=PACKAGE_FORMAT, wire_version=1, program_interface=PROGRAM_INTERFACE,
        architecture=architecture, device="tiny", profile={}, quantize="none",
        held="slots", tiers=(TIER,), methods=methods, predict_methods=("predict",), versions={}, oldest_runtime="1.3.0",
        threads=1, files=files,
    )  # fmt: skip


def floats(values: Array) -> str:
    """Return an array as hex."""
    return np.ascontiguousarray(values, "<f4").tobytes().hex()


def by_block(values: dict[ExpertId, Array]) -> list[list[Any]]:
    """Return arrays by block as JSON holds them."""
    return [[block.layer, block.index, floats(array)] for block, array in values.items()]


def bank(random: np.random.Generator) -> Bank:
    """Return a bank of random values."""
    blocks = {block: random.normal(size=SHAPE.size(block)).astype(np.float32) for block in SHAPE.ids()}
    return Bank.from_blocks(SHAPE, blocks)


def training(random: np.random.Generator, base: Bank, train: list[ExpertId], placed: slots.Slots) -> Outcome:
    """Return what a training that never ran would have given."""
    blocks = {
        block: base.block(block) + random.normal(scale=0.01, size=SHAPE.size(block)).astype(np.float32)
        for block in train
    }
    steps = int(random.integers(1, 12))
    return Outcome(
        blocks=blocks,
        examples=int(random.integers(1, 100)),
        label_counts=random.integers(0, 9, SHAPE.labels).astype(np.float32),
        losses=tuple(float(loss) for loss in random.uniform(0, 2, steps)),
        step_ms=float(random.uniform(1, 200)),
        routed=random.uniform(0, 70, placed.held.shape).astype(np.float32),
        seen=random.integers(30, 64, placed.held.shape).astype(np.float32),
        fill=Fill(),
    )


def case(seed: int, gate: str, codec: int) -> dict[str, Any]:
    """Return one device's rounds."""
    random = np.random.default_rng(seed)
    described, base = manifest(gate), bank(random)
    residuals: dict[ExpertId, Array] = {}
    rounds = []
    for number in range(ROUNDS):
        chosen = random.permutation(SHAPE.experts)[: int(random.integers(1, TIER.trained_slots + 1))]
        train = sorted([*(ExpertId(4, int(index)) for index in chosen), ExpertId(1, seed % 5), shared_expert(1)])
        train += [HEAD] if number % 2 else []
        placed = slots.place(train, described.architecture, TIER)
        outcome = training(random, base, train, placed)
        origin = delta.Origin("device-1", bytes([number]) * 32, number + 1, 2**40 + number, codec)
        body, left = delta.build(origin, base, placed, outcome, residuals, topk=gate == "topk")
        rounds.append(
            {
                "train": [[block.layer, block.index] for block in train],
                "held": placed.held.tolist(),
                "update_mask": placed.update_mask.tolist(),
                "gate_scale": float(placed.gate_scale[0, 0]),
                "outcome": {
                    "blocks": by_block(outcome.blocks),
                    "examples": outcome.examples,
                    "label_counts": floats(outcome.label_counts),
                    "losses": outcome.losses,
                    "step_ms": outcome.step_ms,
                    "routed": [floats(row) for row in outcome.routed],
                    "seen": [floats(row) for row in outcome.seen],
                },
                "body": body.hex(),
                "residuals": by_block(left),
            }
        )
        residuals |= left
    return {
        "manifest": described.to_json().hex(),
        "bank": base.to_bytes(described.architecture.digest()).hex(),
        "codec": codec,
        "rounds": rounds,
    }


json.dump(
    [case(seed, gate, codec) for seed in range(6) for gate in ("soft", "topk") for codec in (pb.FLOAT32, pb.INT8)],
    sys.stdout,
)
