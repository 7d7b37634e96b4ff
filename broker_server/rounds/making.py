"""From a version and a round's deltas to the next: the same steps when it is made and when it is made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker_server.engine.block_merging import BlocksBefore
from broker_server.rounds.folding import Folded, Folding, How
from broker_server.rules.opened_sums import OpenedSums
from broker_server.rules.robust import NO_NORMS, UsualNorms
from broker_server.rules.server_optimizer import optimized
from broker_server.rules.updates import Step, next_blocks
from broker_server.state.moments import notes_of
from broker_server.state.rows import DeltaRow, VersionRow
from broker_server.state.store import Store
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, MEAN, ExpertId
from edge_runtime.wire.tensors import Array


@dataclass(frozen=True)
class Before:
    """What the next version starts from.

    Args:
        bank: of the version before, as devices have it.
        residuals: that it left out, by block.
        moments: of the gateway's optimizer, by block.
        norms: that were usual up to it.
    """

    bank: Bank
    residuals: Mapping[ExpertId, Array] = field(default_factory=dict)
    moments: Mapping[ExpertId, Array] = field(default_factory=dict)
    norms: UsualNorms = NO_NORMS

    @classmethod
    def load(cls, store: Store, row: VersionRow, bank: Bank) -> Before:
        """Read what is beside a version's bank.

        Raises:
            StateError: when something of it is missing or changed.
        """
        return cls(bank, store.residuals.load(row), store.moments.load(row), notes_of(row).norms)

    def with_bank(self, bank: Bank) -> Before:
        """Return what a version with a new head starts the next from: what the experts have stays."""
        moments = {block: values for block, values in self.moments.items() if block not in (HEAD, MEAN)}
        return Before(bank, {}, moments, self.norms)

    @property
    def blocks(self) -> BlocksBefore:
        """It block by block."""
        values = {block: self.bank.block(block) for block in self.bank.shape.ids()}
        return BlocksBefore(values, self.residuals, self.moments)


@dataclass(frozen=True)
class MaskedSums:
    """What deltas under masks add up to. Args: sums: as opened; digest: of what the spool has of them."""

    sums: OpenedSums
    digest: bytes


def masked_step(opened: OpenedSums, before: Before, how: How) -> Step:
    """Return the version after ``before`` that opened sums make.

    Args:
        opened: sums of the blocks that could be opened; others keep their bits.
        before: what it starts from.
        how: by which optimizer, and whether in steps of int8.
    """
    sums, moments = optimized(opened.sums(), before.moments, how.server.optimizer)
    blocks = next_blocks(before.bank.block, before.residuals, sums, rounded=how.rounded)
    return Step(before.bank.replace(blocks.values), blocks.residuals, blocks.updates, moments)


def next_step_of(
    folding: Folding, rows: Sequence[DeltaRow], merges: Sequence[int], before: Before, how: How
) -> tuple[Step, Folded]:
    """Return the version after ``before``, and what was folded into it.

    Args:
        folding: has the deltas merged.
        rows: of the deltas.
        merges: versions that were merges until then, ascending.
        before: what it starts from.
        how: it is merged.

    Raises:
        BodyError: when a delta is damaged or gone.
    """
    blocks, folded = folding.folded(rows, merges, how, before.blocks, before.norms)
    return Step(before.bank.replace(blocks.values), blocks.residuals, blocks.updates, blocks.moments), folded
