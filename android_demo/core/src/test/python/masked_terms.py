"""Prints blocks and class sums as integers under masks (edge_runtime.wire.secure.terms), and what rounding left.

Arrays are little-endian float32 or int32 in hex. Values of blocks that are longer than their norm are multiples of
1/64, whose squares add up to the same in any order.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.experts import CLASS_SUMS, HEAD, BankShape, ExpertId, shared_expert
from edge_runtime.wire.messages import refs
from edge_runtime.wire.secure.class_sums import ClassTerms
from edge_runtime.wire.secure.terms import Terms
from edge_runtime.wire.tensors import Array

SHAPE = BankShape(layers=(1, 4), experts=5, rank=3, shared_rank=2, width=24, labels=3)


def floats(values: Array) -> str:
    """Return values as hex."""
    return np.ascontiguousarray(values, "<f4").tobytes().hex()


def terms(random: np.random.Generator) -> pb.MaskTerms:
    """Return terms of random sizes."""
    step, norm = random.uniform(1e-4, 1e-2, 3), random.uniform(0.5, 2, 3)
    return pb.MaskTerms(
        version=1, limit=int(random.integers(127, 1000)), most_weight=int(random.integers(1, 127)),
        examples_per_weight=random.uniform(0.5, 9), expert_step=step[0], shared_step=step[1], head_step=step[2],
        expert_norm=norm[0], shared_norm=norm[1], head_norm=norm[2], class_step=2.0 ** -int(random.integers(1, 20)),
        class_examples=float(random.integers(5, 20)),
        circles=[pb.CircleTerms(number=7, blocks=refs([CLASS_SUMS]))],
    )  # fmt: skip


def block(random: np.random.Generator, message: pb.MaskTerms, chosen: ExpertId) -> dict[str, Any]:
    """Return a block with what a device says of it."""
    size = SHAPE.size(chosen)
    long = random.random() < 0.4
    change = (random.integers(-99, 99, size) / 64 if long else random.normal(0, 0.01, size)).astype(np.float32)
    examples = int(random.integers(1, 90))
    counts = random.integers(0, 30, SHAPE.labels).astype(np.float32)
    integers, left = Terms.of(message).integers(chosen, change, examples, counts)
    said = integers.astype("<i4").tobytes().hex()
    asked = {"change": floats(change), "examples": examples, "counts": floats(counts)}
    return {"layer": chosen.layer, "index": chosen.index, **asked, "integers": said, "left": floats(left)}


def noised(random: np.random.Generator) -> dict[str, Any]:
    """Return an update that is cut as a whole, and what rounding left of it; exact in any order."""
    blocks = [ExpertId(1, 0), ExpertId(4, 2), HEAD]
    circles = [pb.CircleTerms(number=2, blocks=refs(blocks), variance=16, least=3)]
    message = pb.MaskTerms(
        version=2, limit=300, most_weight=1, examples_per_weight=1, expert_step=1 / 64, head_step=1 / 32, expert_norm=1,
        head_norm=1, whole_norm=int(random.integers(100, 5000)), circles=circles,
    )  # fmt: skip
    changes = {one: (random.integers(-999, 999, SHAPE.size(one)) / 1024).astype(np.float32) for one in blocks}
    values, left = Terms.of(message).noised(changes, SHAPE, bytes(32))
    return {
        "terms": message.SerializeToString().hex(),
        "changes": [[one.layer, one.index, floats(change)] for one, change in changes.items()],
        "left": [[one.layer, one.index, floats(rest)] for one, rest in left.items()],
        "values": int(values[2].size),
    }


def case(seed: int) -> dict[str, Any]:
    """Return terms, and blocks and class sums under them."""
    random = np.random.default_rng(seed)
    message = terms(random)
    counts = random.integers(0, 9, SHAPE.labels).astype(np.float32)
    sums = random.normal(0, 2, (SHAPE.labels, SHAPE.width)).astype(np.float32)
    said = ClassTerms(message.class_step, message.class_examples).integers(ClassSums(counts, sums), SHAPE)
    return {
        "terms": message.SerializeToString().hex(),
        "blocks": [block(random, message, chosen) for chosen in (ExpertId(4, 2), shared_expert(1), HEAD)],
        "class_counts": floats(counts),
        "class_sums": floats(sums),
        "noised": noised(random),
        "class_integers": said.astype("<i4").tobytes().hex(),
    }


json.dump([case(seed) for seed in range(12)], sys.stdout)
