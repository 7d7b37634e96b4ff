"""What training changed, block by block, as the wire carries it; and what a lossy codec left behind.

Error feedback (Seide et al. 2014; Karimireddy et al., arXiv 1901.09847): what rounding dropped from a block is added
to that block's next delta, so that over rounds nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from edge_runtime.program.slots import Slots
from edge_runtime.training.trainer import Outcome
from edge_runtime.wire import messages, tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId
from edge_runtime.wire.tensors import Array


@dataclass(frozen=True)
class Origin:
    """Which work a delta answers. Args: plan_digest: over the plan's bytes as received."""

    device: str
    plan_digest: bytes
    round: int
    base_version: int
    codec: int


@dataclass(frozen=True)
class PendingDelta:
    """A delta that waits for its verdict. Args: digest: over the body; round and plan_digest: it belongs to."""

    digest: bytes
    body: bytes
    round: int
    plan_digest: bytes


@dataclass(frozen=True)
class SentDelta:
    """An accepted delta, kept until a version of its round is announced. Args: digest: over its body."""

    digest: bytes
    round: int


def build(
    origin: Origin, base: Bank, slots: Slots, outcome: Outcome, residuals: Mapping[ExpertId, Array], *, topk: bool
) -> tuple[bytes, dict[ExpertId, Array]]:
    """Return a Delta's bytes, and the residual of each block in it (all zero with float32).

    Args:
        origin: the plan it answers.
        base: the bank that training started from.
        slots: where the experts sat.
        outcome: of the training.
        residuals: of earlier deltas, by block; those of other blocks are left alone.
        topk: whether tokens are routed, so that use is told.

    Raises:
        WireError: NOT_FINITE when training diverged.
    """
    listed, left = [], {}
    for block in sorted(outcome.blocks):
        change = outcome.blocks[block] - base.block(block)
        if block in residuals:
            change = change + residuals[block]
        values = tensors.encode(change, origin.codec)
        left[block] = change - tensors.decode(values, change.size, origin.codec)
        listed.append(pb.ExpertDelta(layer=block.layer, index=block.index, values=values))
    message = pb.Delta(
        device=origin.device,
        plan_digest=origin.plan_digest,
        round=origin.round,
        base_version=origin.base_version,
        examples=outcome.examples,
        codec=cast("pb.Codec", origin.codec),
        experts=listed,
        loss_first=outcome.loss_first,
        loss_last=outcome.loss_last,
        step_ms=outcome.step_ms,
        steps=len(outcome.losses),
        use=_use(base.shape, slots, outcome) if topk else (),
        label_counts=outcome.label_counts.tolist() if HEAD in outcome.blocks else (),
    )
    return messages.encode(message), left


def _use(shape: BankShape, slots: Slots, outcome: Outcome) -> list[pb.ExpertUse]:
    """List every held expert: the gateway needs the use of those that were not trained too."""
    uses = [
        pb.ExpertUse(layer=layer, index=int(index), routed=float(min(routed, seen)), seen=float(seen))
        for row, layer in enumerate(slots.layers(shape))
        for index, routed, seen in zip(slots.held[row], outcome.routed[row], outcome.seen[row], strict=True)
    ]
    return sorted(uses, key=lambda use: (use.layer, use.index))


def pack_residuals(residuals: Mapping[ExpertId, Array]) -> dict[str, Array]:
    """Return residuals under names a store can hold; a block without any residual is left out."""
    return {f"{block.layer}.{block.index}": values for block, values in residuals.items() if values.any()}


def unpack_residuals(tensors: Mapping[str, Array], shape: BankShape) -> dict[ExpertId, Array]:
    """Read ``pack_residuals``; what does not fit the bank is left out."""
    blocks = {f"{block.layer}.{block.index}": block for block in shape.ids()}
    return {blocks[name]: values for name, values in tensors.items() if values.shape == (_size(blocks, name, shape),)}


def _size(blocks: Mapping[str, ExpertId], name: str, shape: BankShape) -> int:
    return shape.size(blocks[name]) if name in blocks else -1
