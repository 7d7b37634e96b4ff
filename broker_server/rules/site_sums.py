"""What a site adds up of its devices' deltas: read into blocks that a merge takes, checked, written. Pure.

Axes: P values of a block.
A site's sum goes the way of a delta: offered, sent, in the spool by its digest, folded. It has no norms of single
updates: in their place its row in the ledger has SUMMED. SPEC.md, "Sites".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from broker_server.rules.aggregate import Sums
from broker_server.rules.summed_block import SummedBlock
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import BankError, WireError
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId
from edge_runtime.wire.grids import GRID, Wide, write
from edge_runtime.wire.messages import decode, encode, ids

SUMMED: Final = "sum"
"""In place of a kind of block, where norms of a delta are kept: how many deltas a site's sum has."""


@dataclass(frozen=True)
class SumRules:
    """By what rules a gateway, and each site below it, adds deltas up. Args: as in PartialSum.

    Args:
        most_examples: that a delta counts for; 0: any number.
        normalized: whether steps are taken out.
    """

    most_examples: int
    normalized: bool


@dataclass(frozen=True)
class SumClaims:
    """What a site's sum says of itself.

    Args:
        rules: that it was added up by.
        devices: deltas in it.
        heaviest: the largest weight of one of its deltas, at least.
    """

    rules: SumRules
    devices: int
    heaviest: float


def claims_of(total: pb.PartialSum) -> pb.Delta:
    """Return what a sum says of itself in the form of a delta, without values."""
    return pb.Delta(
        device=total.device,
        plan_digest=total.plan_digest,
        round=total.round,
        base_version=total.base_version,
        examples=total.examples,
        experts=[pb.ExpertDelta(layer=block.layer, index=block.index) for block in total.blocks],
        loss_first=total.loss_first,
        loss_last=total.loss_last,
        step_ms=total.step_ms,
    )


def body_of(data: bytes) -> pb.Delta | pb.PartialSum:
    """Read an accepted body, of a device or of a site. A sum is no delta: it has no experts, and says no codec.

    Raises:
        WireError: when it is neither.
    """
    try:
        return decode(pb.Delta, data)
    except WireError as error:
        try:
            return decode(pb.PartialSum, data)
        except WireError:
            raise error from None


def read_sums(total: pb.PartialSum, shape: BankShape) -> dict[ExpertId, SummedBlock]:
    """Return the blocks of a sum, ascending.

    Args:
        total: as ``messages.decode`` returned it, or some blocks of one.
        shape: of the bank.

    Raises:
        WireError: WRONG_SIZE, or MALFORMED for a block that the bank does not have.
    """
    return {block: _read(block, one, shape) for block, one in zip(ids(total.blocks), total.blocks, strict=True)}


def _read(block: ExpertId, one: pb.BlockSum, shape: BankShape) -> SummedBlock:
    try:
        size = shape.size(block)
    except BankError as error:
        raise WireError(pb.MALFORMED, f"a sum of {block}, which the bank does not have") from error
    if len(one.values) != 8 * size:
        raise WireError(pb.WRONG_SIZE, f"block {block}: {len(one.values)} bytes of sums, expected {8 * size}")
    if len(one.weights) > 8 and block != HEAD:
        raise WireError(pb.WRONG_SIZE, f"block {block}: {len(one.weights) // 8} weights, expected 1")
    return SummedBlock(
        _numbers(one.values), _numbers(one.weights), one.devices, _numbers(one.steps) if one.steps else None,
        one.size / GRID,
    )  # fmt: skip


def _numbers(data: bytes) -> Wide:
    return np.frombuffer(data, "<f8").astype(np.float64, copy=False)


def sum_claims(total: pb.PartialSum, blocks: Mapping[ExpertId, SummedBlock]) -> SumClaims:
    """Return what admission looks at. Args: total: the message; blocks: of it."""
    heaviest = max(float(one.weights.max()) / one.devices for one in blocks.values())
    normalized = any(one.steps is not None for one in blocks.values())
    return SumClaims(SumRules(total.most_examples, normalized), total.devices, heaviest)


def mean_norm(block: SummedBlock) -> float:
    """Return the norm of the mean update of a block: no more than the largest of the updates in it."""
    parts = np.divide(block.values, block.weights, out=np.zeros_like(block.values), where=block.weights > 0)
    if block.steps is not None:
        parts *= np.divide(block.steps, block.weights, out=np.zeros_like(block.weights), where=block.weights > 0)
    return math.sqrt(float((parts * parts).sum()))


def check_sum(claims: SumClaims, most: float, devices: int, rules: SumRules | None) -> None:
    """Refuse a sum that this gateway cannot take.

    Args:
        claims: of the sum.
        most: examples that a delta of the round can have been trained on.
        devices: that the site was enrolled for.
        rules: of this gateway; None: it adds up none.

    Raises:
        WireError: MALFORMED, with what to do.
    """
    if rules is None:
        raise WireError(pb.MALFORMED, "this gateway takes no sums of sites: server.exact_sums is off here")
    if claims.rules != rules:
        raise WireError(pb.MALFORMED, f"the sum was taken by {_words(claims.rules)}; here it is {_words(rules)}")
    if claims.devices > devices:
        raise WireError(pb.MALFORMED, f"a sum of {claims.devices} deltas, this site may speak for {devices} devices")
    most = min(most, rules.most_examples) if rules.most_examples else most
    if claims.heaviest > most:
        detail = f"a mean weight of {claims.heaviest:g}, no delta of this round can have more than {most:g} examples"
        raise WireError(pb.MALFORMED, detail)


def _words(rules: SumRules) -> str:
    steps = "true" if rules.normalized else "false"
    return f"limits.most_examples = {rules.most_examples} and server.normalize_steps = {steps}"


@dataclass(frozen=True)
class SumOrigin:
    """Whose sum of what. Args: as in PartialSum; ``examples`` and means of the deltas are for people."""

    site: str
    plan_digest: bytes
    round: int
    base_version: int
    devices: int
    examples: int
    loss_first: float
    loss_last: float
    step_ms: float
    most_examples: int


def sum_message(origin: SumOrigin, sums: Sums) -> bytes:
    """Return the bytes of a PartialSum: the same for the same deltas, in whatever order they came.

    Args:
        origin: of the sum.
        sums: exact ones, without discount for staleness.
    """
    blocks = [
        pb.BlockSum(
            layer=block.layer,
            index=block.index,
            values=write(sums.deltas[block]),
            weights=write(sums.weights[block]),
            devices=sums.devices[block],
            steps=write(sums.steps[block]) if block in sums.steps else b"",
            size=int(sums.sizes[block] * GRID),
        )
        for block in sorted(sums.deltas)
    ]
    return encode(
        pb.PartialSum(
            device=origin.site,
            plan_digest=origin.plan_digest,
            round=origin.round,
            base_version=origin.base_version,
            devices=origin.devices,
            blocks=blocks,
            examples=min(origin.examples, 2**32 - 1),
            loss_first=origin.loss_first,
            loss_last=origin.loss_last,
            step_ms=origin.step_ms,
            most_examples=origin.most_examples,
        )
    )
