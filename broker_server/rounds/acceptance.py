"""The one place where deltas are accepted: checked, on the disk, in the ledger, taken note of; only then is it told.

All that is complete and looked at is decided together. Order: the bodies of the group are in the spool, synced, before
one transaction keeps their rows, the verdicts and the bytes counted so far; after the commit the round and the norms
know of them. A kill between two of these leaves bodies that nobody refers to, which a start takes up or sweeps away, or
accepted deltas whose verdict their devices ask for again. ``Merging`` ends it: it folds every row that no version has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker_server.config import GatewayConfig
from broker_server.rounds.checking import Body
from broker_server.rounds.conductor import Conductor
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rules.admission import Accepted, Checked, DeltaContext, Identity, admit_checked, most_examples
from broker_server.rules.norms import typical
from broker_server.rules.round import State
from broker_server.rules.site_sums import SumRules
from broker_server.state.rows import DeltaRow
from broker_server.state.version_tables import ROLLED_BACK
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.messages import decode, ids
from edge_runtime.wire.secure.terms import masked_blocks

NORM_HISTORY: Final = 256


@dataclass(frozen=True)
class Usual:
    """What deltas are compared with, read once for a group. Args: norms: typical, by kind; batch_size: of a step."""

    norms: Mapping[str, float]
    batch_size: int


@dataclass(frozen=True)
class Candidate:
    """A delta that is accepted once it is on the disk.

    Args:
        row: for the ledger.
        delta: without values.
        staleness: merges since its base version.
        before: it is there already, from an earlier group.
    """

    row: DeltaRow
    delta: pb.Delta
    staleness: int
    before: bool


class Acceptance:
    """Accepts deltas, or refuses them. Args: parts: shared parts of the gateway; conductor: of the rounds."""

    def __init__(self, parts: GatewayParts, conductor: Conductor) -> None:
        self._config, self._store, self._roster = parts.config, parts.store, parts.roster
        self._conductor = conductor
        self._batch_size = max(tier.batch_size for tier in parts.store.manifest.tiers)
        self._norms: dict[str, list[float]] = {}
        self._version = conductor.row.version
        self._read_norms()

    def usual(self) -> Usual:
        """Return what the next group is compared with."""
        ledger, newest = self._store.ledger, self._conductor.row.version
        after = (ledger.version(number) for number in range(self._version + 1, newest + 1))
        if any(row is not None and row.reason == ROLLED_BACK for row in after):
            self._read_norms()
        self._version = newest
        return Usual(typical(self._norms), self._roster.usual_batch_size)

    def consider(
        self, checked: Checked, body: Body, identity: Identity, usual: Usual, together: Mapping[tuple[str, int], bytes]
    ) -> Candidate:
        """Decide on a delta; nothing is written yet.

        Args:
            checked: of the body.
            body: complete.
            identity: of the device whose topic it came on.
            usual: what it is compared with.
            together: digests of the deltas of its group that came before it, by device and round.

        Raises:
            WireError: when it is refused, with the code for the device.
        """
        context = self._context(checked.delta, identity, usual, together)
        try:
            accepted = admit_checked(checked, body.digest, context)
        except WireError as error:
            if error.code == pb.STALE:
                self._roster.answered(identity.device)  # it is slow, not silent
            elif context.plan is not None and error.code != pb.DUPLICATE:
                self._conductor.refused(identity.device, context.plan.round)
            raise
        row = _row(checked.delta, body, accepted, context.plan)
        return Candidate(row, checked.delta, accepted.contribution.staleness, before=context.accepted == body.digest)

    def note(self, candidate: Candidate) -> None:
        """Take note of a delta that is in the ledger."""
        row = candidate.row
        self._sample(row)
        self._roster.trained(row.device, self._store.lineage.shape.depth(row.blocks), row.step_ms)
        self._conductor.accepted(row.digest, candidate.delta)

    def _context(
        self, delta: pb.Delta, identity: Identity, usual: Usual, together: Mapping[tuple[str, int], bytes]
    ) -> DeltaContext:
        ledger, device = self._store.ledger, identity.device
        payload = ledger.plan(device, delta.plan_digest)
        plan = decode(pb.Plan, payload) if payload is not None else None
        earlier = None
        if plan is not None:
            earlier = together.get((device, plan.round)) or ledger.accepted_digest(device, plan.round)
        return DeltaContext(
            identity,
            plan,
            earlier,
            self._conductor.age(plan.base_version) if plan is not None else 0,
            self._config.round.max_staleness,
            self._store.lineage.shape,
            usual.norms,
            self._config.limits.norm_factor,
            self._most_examples(device, plan.steps, usual) if plan is not None else 0,
            closed=self._conductor.state is State.FINISHED,
            masked=self._conductor.masks.masked(plan) if plan is not None else None,
            sums=sum_rules_of(self._config),
        )

    def _most_examples(self, device: str, steps: int, usual: Usual) -> int:
        own = self._batch_size
        return most_examples(steps, self._roster.batch_size(device) or own, own, usual.batch_size)

    def _read_norms(self) -> None:
        """Take the norms of recent deltas from the ledger: those of versions that were gone back from are not there.

        Norms fall by an order of magnitude while a federation learns, so deltas from an early version that came back
        would all be refused beside those of the latest.
        """
        self._norms = {}
        for row in self._store.ledger.recent_deltas(NORM_HISTORY):
            self._sample(row)

    def _sample(self, row: DeltaRow) -> None:
        for kind, norm in row.norms.items():
            samples = self._norms.setdefault(kind, [])
            samples.append(norm)
            del samples[:-NORM_HISTORY]


def sum_rules_of(config: GatewayConfig) -> SumRules | None:
    """Return the rules by which sites add up; None where no sum is taken."""
    server = config.server
    return SumRules(config.limits.most_examples, server.normalize_steps) if server.exact_sums else None


def _row(delta: pb.Delta, body: Body, accepted: Accepted, plan: pb.Plan | None) -> DeltaRow:
    blocks = masked_blocks(plan, delta) if plan is not None and delta.masked else ids(delta.experts)
    return DeltaRow(
        delta.device, delta.round, body.digest, len(body.data), int(accepted.contribution.examples), delta.loss_first,
        delta.loss_last, delta.step_ms, accepted.norms, blocks,
    )  # fmt: skip
