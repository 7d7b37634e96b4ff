"""What training changed under a plan that asks for masks, as integers, until it is known who dealt shares.

On disk it is the record ``unmasked``: integers of each circle as int32, what rounding left of each block as float32,
and in its head the plan's message. Noise is in these integers before they are written, and they are written before
anything is sent: a kill draws no second noise for an update of which anybody has seen the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from edge_runtime.federation.masks import Masks
from edge_runtime.store import Record, Store
from edge_runtime.training.trainer import Outcome
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.secure.fixed_point import Integers
from edge_runtime.wire.secure.terms import Terms
from edge_runtime.wire.tensors import Array

_RECORD: Final = "unmasked"


@dataclass(frozen=True)
class Unmasked:
    """A trained plan without its masks.

    Args:
        payload: of the plan.
        values: integers by circle.
        left: what rounding left of each block, float32.
        steps: that were made.
        step_ms: median.
    """

    payload: bytes
    values: Mapping[int, Integers]
    left: Mapping[ExpertId, Array]
    steps: int
    step_ms: float

    @property
    def plan_digest(self) -> bytes:
        """Digest of the plan's message."""
        return sha256(self.payload)

    @property
    def round(self) -> int:
        """Number of its round."""
        return messages.decode(pb.Plan, self.payload).round

    @classmethod
    def of(
        cls,
        payload: bytes,
        base: Bank,
        outcome: Outcome,
        residuals: Mapping[ExpertId, Array],
        *,
        seed: bytes,
        class_sums: ClassSums | None = None,
    ) -> Self:
        """Return what training came to, with noise where the plan asks for it.

        Args:
            payload: of the plan.
            base: bank that training started from.
            outcome: of the training.
            residuals: of earlier deltas, by block.
            seed: 32 random bytes, that noise follows from: for this plan alone, and forgotten.
            class_sums: of the device's data, which a circle may ask for; None: it has no examples with labels.

        Raises:
            SecureError: when training diverged, or class sums are none.
        """
        terms = Terms.of(messages.decode(pb.Plan, payload).masks[0])
        trained = {circle: blocks for circle, blocks in terms.circles.items() if not terms.of_classes(circle)}
        changes = {}
        for block in (block for blocks in trained.values() for block in blocks):
            with np.errstate(over="ignore", invalid="ignore"):  # refused below
                change = outcome.blocks[block] - base.block(block)
                changes[block] = change + residuals[block] if block in residuals else change
        if terms.private:
            values, left = terms.noised(changes, base.shape, seed)
        else:
            values, left = dict[int, Integers](), dict[ExpertId, Array]()
            for circle, blocks in trained.items():
                parts = []
                for block in blocks:
                    said, left[block] = terms.integers(block, changes[block], outcome.examples, outcome.label_counts)
                    parts.append(said)
                values[circle] = np.concatenate(parts)
        for circle in terms.circles.keys() - trained.keys():
            asked = terms.of_classes(circle)
            assert asked is not None  # noqa: S101 - it is not among those that are trained
            values[circle] = asked.integers(class_sums, base.shape)
        return cls(payload, values, left, len(outcome.losses), outcome.step_ms)

    def delta(self, device: str, masks: Masks) -> bytes:
        """Return the Delta under masks.

        Raises:
            SecureError: when it cannot be masked.
        """
        plan = messages.decode(pb.Plan, self.payload)
        members, masked = masks.masked(self.values)
        message = pb.Delta(
            device=device,
            plan_digest=self.plan_digest,
            round=plan.round,
            base_version=plan.base_version,
            examples=1,  # how many there were is under the masks
            codec=plan.codec,
            step_ms=self.step_ms,
            steps=self.steps,
            members=members,
            masked=masked,
        )
        return messages.encode(message)

    def keep(self, store: Store) -> None:
        """Write it down."""
        circles = [[number, values.size] for number, values in self.values.items()]
        blocks = [[block.layer, block.index, values.size] for block, values in self.left.items()]
        head = {
            "plan": self.payload.hex(), "circles": circles, "blocks": blocks, "steps": self.steps,
            "step_ms": self.step_ms,
        }  # fmt: skip
        parts = [values.astype("<i4").tobytes() for values in self.values.values()]
        parts += [values.astype("<f4").tobytes() for values in self.left.values()]
        store.write(_RECORD, Record(head, b"".join(parts)))

    @classmethod
    def recall(cls, store: Store) -> Self | None:
        """Return what an earlier process left; None when there is none."""
        record = store.recall(_RECORD)
        if record is None:
            return None
        head, words = record.head, np.frombuffer(record.body, "<i4")
        values, left, start = dict[int, Integers](), dict[ExpertId, Array](), 0
        for number, size in head["circles"]:
            values[number] = words[start : start + size].astype(np.int64)
            start += size
        for layer, index, size in head["blocks"]:
            left[ExpertId(layer, index)] = words[start : start + size].view("<f4").astype(np.float32)
            start += size
        return cls(bytes.fromhex(head["plan"]), values, left, head["steps"], head["step_ms"])

    @staticmethod
    def forget(store: Store) -> None:
        """Remove it."""
        store.remove(_RECORD)
