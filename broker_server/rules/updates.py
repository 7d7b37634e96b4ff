"""Versions in steps of int8: what devices get, what of the merged values is left for the next merge. Pure.

Axes: P values of a block.
The *master* of a block is what merging made of it, float32 [P]; devices get the version before plus int8(master -
version before), and the *residual*, master - version, is added before the next merge of that block (error feedback on
what goes down: Tang et al., DoubleSqueeze, ICML 2019, algorithm 1). Rules: docs/algorithm.md, "Versions in steps of
int8"; the arithmetic of an update: SPEC.md, "Updates".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from broker_server.rules.aggregate import Sums, closed
from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.limits import UPDATES_LIMIT
from edge_runtime.wire.tensors import Array
from edge_runtime.wire.updates import apply_update, update_bytes

UPDATE_OVERHEAD: Final = 71
"""Bytes of one listed update in a Version: two digests of 32 bytes, three tags with lengths, a length that grows."""


@dataclass(frozen=True)
class Step:
    """The next version of a bank.

    Args:
        bank: that devices get.
        residuals: master - bank by block, float32 [P]; a block of zeros is left out.
        updates: of the blocks that changed by one, in codec INT8: it makes the new block of the one before.
        moments: of the gateway's optimizer after it, by block (``server_optimizer.py``).
    """

    bank: Bank
    residuals: Mapping[ExpertId, Array] = field(default_factory=dict)
    updates: Mapping[ExpertId, bytes] = field(default_factory=dict)
    moments: Mapping[ExpertId, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class NextBlocks:
    """The next version of some blocks.

    Args:
        values: that devices get, float32 [P], of each block that somebody gave weight to.
        residuals: as in Step.
        updates: as in Step.
    """

    values: Mapping[ExpertId, Array]
    residuals: Mapping[ExpertId, Array]
    updates: Mapping[ExpertId, bytes] = field(default_factory=dict)


def next_step(base: Bank, residuals: Mapping[ExpertId, Array], sums: Sums, *, rounded: bool) -> Step:
    """Return the version after ``base``: its masters plus the weighted means of ``sums``.

    A block that nobody gave weight to keeps its bits, and its residual until somebody does.

    Args:
        base: the version before.
        residuals: of it.
        sums: of the round.
        rounded: whether devices get the masters rounded, in steps of int8; else exactly.
    """
    blocks = next_blocks(base.block, residuals, sums, rounded=rounded)
    return Step(base.replace(blocks.values), blocks.residuals, blocks.updates)


def next_blocks(
    base_of: Callable[[ExpertId], Array], residuals: Mapping[ExpertId, Array], sums: Sums, *, rounded: bool
) -> NextBlocks:
    """Return the next version of the blocks of ``sums``, whoever has the others.

    Args:
        base_of: the values of a block in the version before.
        residuals: of it; those of blocks that nobody gave weight to are returned as they are.
        sums: of the round.
        rounded: as in next_step.
    """

    def master_before(block: ExpertId) -> Array:
        with np.errstate(over="ignore"):  # refused when the block is written
            return base_of(block) + residuals[block] if block in residuals else base_of(block)

    masters = closed(master_before, sums)
    left = {block: values for block, values in residuals.items() if block not in masters}
    if not rounded:
        return NextBlocks(masters, left)
    changed: dict[ExpertId, Array] = {}
    updates: dict[ExpertId, bytes] = {}
    for block, master in masters.items():
        values, update = _rounded(base_of(block), master)
        changed[block] = values
        if update:
            updates[block] = update
        residual = master - values
        if residual.any():
            left[block] = residual
    return NextBlocks(changed, left, updates)


def _rounded(base: Array, master: Array) -> tuple[Array, bytes]:
    """Return the values of a block that devices get, and the update that makes them of ``base``.

    No update where it would change nothing, and none for a difference beyond float32: that block goes whole.
    """
    with np.errstate(over="ignore"):
        difference = master - base
    try:
        update = tensors.encode(difference, pb.INT8)
        values = apply_update(base, update)
    except WireError:
        return master, b""
    # -0.0 + 0.0 is 0.0: an update of zeros may change bits, and no value.
    return (base, b"") if (values == base).all() else (values, update)


def steps_back(
    parent: pb.Version, digests: Mapping[ExpertId, bytes], updates: Mapping[ExpertId, bytes], shape: BankShape
) -> dict[ExpertId, list[pb.Update]]:
    """Return the updates that lead to each block of a version, newest first, while they save bytes.

    A block that did not change has those of its parent. One that changed by an update has that, and then its parent's.

    Args:
        parent: the version before.
        digests: of the new version's blocks.
        updates: digest of each new update.
        shape: of the bank.
    """
    listed: dict[ExpertId, list[pb.Update]] = {}
    for block in parent.blocks:
        name = ExpertId(block.layer, block.index)
        if digests[name] == block.digest:
            steps = list(block.updates)
        elif name in updates:
            steps = [pb.Update(base=block.digest, digest=updates[name]), *block.updates]
        else:
            continue
        values = shape.size(name)
        most = (4 * values - 1) // update_bytes(values)  # so that all of them are fewer bytes than the block
        if steps and most:
            listed[name] = steps[: min(most, UPDATES_LIMIT)]
    return listed


def that_fit(steps: Mapping[ExpertId, Sequence[pb.Update]], room: int) -> dict[ExpertId, list[pb.Update]]:
    """Return as many updates as there is room for in a message: every block's newest first. Args: room: bytes."""
    left = room // UPDATE_OVERHEAD
    fitting: dict[ExpertId, list[pb.Update]] = {}
    for depth in range(max(map(len, steps.values()), default=0)):
        for block in sorted(name for name, updates in steps.items() if len(updates) > depth):
            if left > 0:
                fitting.setdefault(block, []).append(steps[block][depth])
                left -= 1
    return fitting
