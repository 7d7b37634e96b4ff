"""Deltas of devices that do not train: random values of an allowed size, encoded once and shared by all devices.

A protobuf message may be written in pieces, one behind the other. So a body is a head of its own device and plan, and
the encoded experts of a few variants, which stand in memory once: a thousand unfinished bodies cost as much as ten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import PAYLOAD
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.messages import encode, ids

VARIANTS: Final = 4
SPREAD: Final = 0.01
"""Of a delta's values: a twelfth of what ten steps of 0.004 can move them."""
EXAMPLES: Final = 100
STEP_MS: Final = 20.0


class Lie(Enum):
    """What may be wrong with a delta."""

    DIGEST = "bad digest"
    VALUES = "NaN"
    PLAN = "wrong plan"


@dataclass(frozen=True)
class Body:
    """An encoded Delta. Args: parts: its bytes, one behind the other; digest: that its chunks name; size: in bytes."""

    parts: Sequence[bytes]
    digest: bytes
    size: int

    @property
    def count(self) -> int:
        """The number of its chunks."""
        return -(-self.size // PAYLOAD)

    def chunk(self, index: int) -> bytes:
        """Return an encoded chunk. Args: index: from 0."""
        begin, end = index * PAYLOAD, min(self.size, (index + 1) * PAYLOAD)
        pieces, at = [], 0
        for part in self.parts:
            if at + len(part) > begin and at < end:
                pieces.append(part[max(0, begin - at) : end - at])
            at += len(part)
        return encode(
            pb.Chunk(
                kind=pb.DELTA, digest=self.digest, index=index, count=self.count, total=self.size,
                payload=b"".join(pieces),
            )
        )  # fmt: skip


class Bodies:
    """Makes bodies. Args: shape: of the bank; seed: of the values."""

    def __init__(self, shape: BankShape, seed: int) -> None:
        self._shape, self._seed = shape, seed
        self._experts: dict[tuple[ExpertId, int], bytes] = {}

    def delta(
        self, plan: pb.Plan, plan_digest: bytes, number: int, lie: Lie | None = None, step_ms: float = STEP_MS
    ) -> Body:
        """Return the body of a delta.

        Args:
            plan: that it answers.
            plan_digest: of the plan's bytes as they came.
            number: another one makes another body.
            lie: what is wrong with it.
            step_ms: that it tells.
        """
        blocks, variant = ids(plan.train), number % VARIANTS
        head = encode(
            pb.Delta(
                device=plan.device, plan_digest=bytes(32) if lie is Lie.PLAN else plan_digest, round=plan.round,
                base_version=plan.base_version, examples=EXAMPLES, codec=pb.INT8, loss_first=1.0 + number % 1000,
                loss_last=0.5, step_ms=step_ms, steps=plan.steps,
            )
        )  # fmt: skip
        parts = [head, *(self._expert(block, variant) for block in blocks)]
        if lie is Lie.VALUES:
            parts[1] = _field(blocks[0], _not_finite(self._shape.size(blocks[0])))
        digest = hashlib.sha256(b"another body" if lie is Lie.DIGEST else b"")
        for part in parts:
            digest.update(part)
        return Body(parts, digest.digest(), sum(map(len, parts)))

    def _expert(self, block: ExpertId, variant: int) -> bytes:
        encoded = self._experts.get((block, variant))
        if encoded is None:
            random = np.random.default_rng([self._seed, block.layer, block.index, variant])
            values = random.normal(0.0, SPREAD, self._shape.size(block)).astype(np.float32)
            encoded = self._experts[block, variant] = _field(block, tensors.encode(values, pb.INT8))
        return encoded


def _field(block: ExpertId, values: bytes) -> bytes:
    """Return one expert as it stands in an encoded Delta."""
    return pb.Delta(experts=[pb.ExpertDelta(layer=block.layer, index=block.index, values=values)]).SerializeToString()


def _not_finite(count: int) -> bytes:
    groups = -(-count // tensors.GROUP)
    return np.full(groups, np.nan, "<f4").tobytes() + bytes(count)
