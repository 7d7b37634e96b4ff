"""From a version and a round's deltas to the next: the same steps when it is made and when it is made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from broker_server.rounds.folding import Folded, Folding
from broker_server.rules.privacy import Private
from broker_server.rules.robust import NO_NORMS, UsualNorms
from broker_server.rules.server_optimizer import optimized
from broker_server.rules.server_rules import PLAIN, ServerRules
from broker_server.rules.updates import Step, next_step
from broker_server.rules.weights import Caps
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


@dataclass(frozen=True)
class How:
    """How a round is merged.

    Args:
        caps: what one device may weigh.
        server: rules beyond the weighted mean.
        rounded: whether the version goes down in steps of int8.
        private: what is promised of it, of private merging.
    """

    caps: Caps
    server: ServerRules = PLAIN
    rounded: bool = False
    private: Private | None = None


def next_step_of(
    folding: Folding, rows: Sequence[DeltaRow], merges: Sequence[int], before: Before, how: How
) -> tuple[Step, Folded]:
    """Return the version after ``before``, and what was folded into it.

    Args:
        folding: reads the deltas.
        rows: of the deltas.
        merges: versions that were merges until then, ascending.
        before: what it starts from.
        how: it is merged.

    Raises:
        BodyError: when a delta is damaged or gone.
    """
    if how.private is not None:
        folded = folding.private(rows, how.private)
    else:
        folded = folding.folded(rows, how.caps, merges, how.server, before.norms)
    sums, moments = optimized(folded.sums, before.moments, how.server.optimizer)
    step = next_step(before.bank, before.residuals, sums, rounded=how.rounded)
    return replace(step, moments=moments), folded
