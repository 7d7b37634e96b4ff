"""The one place where a delta is accepted: checked, on the disk, in the ledger, taken note of; only then is it told.

Order: the body is in the spool, synced, before one transaction keeps its row, the verdict and the bytes counted so far;
after the commit the round and the norms know of it. A kill between two of these leaves a body that nobody refers to,
which a start sweeps away, or an accepted delta whose verdict the device asks for again. ``Merging`` ends it: it folds
every row that no version holds.
"""

from __future__ import annotations

from typing import Final

from broker_server.rounds.conductor import Conductor
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rules.admission import Accepted, DeltaContext, Identity, admit, most_examples, typical
from broker_server.rules.round import State
from broker_server.state.ledger import DeltaRow
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.messages import decode, ids

NORM_HISTORY: Final = 256


class Acceptance:
    """Accepts deltas, or refuses them. Args: parts: shared parts of the gateway; conductor: of the rounds."""

    def __init__(self, parts: GatewayParts, conductor: Conductor) -> None:
        self._config, self._store, self._roster = parts.config, parts.store, parts.roster
        self._conductor = conductor
        self._batch_size = max(tier.batch_size for tier in parts.store.manifest.tiers)
        self._norms: dict[str, list[float]] = {}
        for row in parts.store.ledger.recent_deltas(NORM_HISTORY):
            self._sample(row)

    def accept(
        self, delta: pb.Delta, digest: bytes, body: bytes, identity: Identity, wall: float
    ) -> tuple[Accepted, pb.Verdict]:
        """Accept a delta; the verdict that this returns may be told, and holds for ever.

        Args:
            delta: ``body``, decoded.
            digest: of the body.
            body: as it came.
            identity: of the device whose topic it came on.
            wall: seconds since 1970.

        Raises:
            WireError: when it is refused, with the code for the device.
            StorageError: when the disk refuses; nothing was accepted.
        """
        context = self._context(delta, identity)
        try:
            accepted = admit(delta, digest, context)
        except WireError as error:
            if error.code == pb.STALE:
                self._conductor.late(identity.device)
            elif context.plan is not None and error.code != pb.DUPLICATE:
                self._conductor.refused(identity.device, context.plan.round)
            raise
        row = _row(delta, digest, len(body), accepted)
        verdict = pb.Verdict(kind=pb.DELTA, digest=digest, code=pb.ACCEPTED, round=delta.round)
        ledger = self._store.ledger
        self._store.spool.keep(digest, body)
        with ledger.transaction():
            ledger.accept(row, wall)
            ledger.decide(verdict, row.device, wall)
            # With it, so that a kill loses few of the counted bytes.
            ledger.count_bytes(self._roster.take_traffic(), wall)
        self._sample(row)
        self._roster.trained(row.device, row.step_ms)
        self._conductor.answered(row.device, row.round)
        return accepted, verdict

    def _context(self, delta: pb.Delta, identity: Identity) -> DeltaContext:
        ledger = self._store.ledger
        payload = ledger.plan(identity.device, delta.plan_digest)
        plan = decode(pb.Plan, payload) if payload is not None else None
        return DeltaContext(
            identity,
            plan,
            ledger.accepted_digest(identity.device, plan.round) if plan is not None else None,
            self._conductor.age(plan.base_version) if plan is not None else 0,
            self._config.round.max_staleness,
            self._store.lineage.shape,
            typical(self._norms),
            self._config.limits.norm_factor,
            self._most_examples(identity.device, plan.steps) if plan is not None else 0,
            closed=self._conductor.state is State.FINISHED,
        )

    def _most_examples(self, device: str, steps: int) -> int:
        told = self._roster.batch_sizes()
        return most_examples(steps, told.get(device, self._batch_size), self._batch_size, told.values())

    def _sample(self, row: DeltaRow) -> None:
        for kind, norm in row.norms.items():
            samples = self._norms.setdefault(kind, [])
            samples.append(norm)
            del samples[:-NORM_HISTORY]


def _row(delta: pb.Delta, digest: bytes, size: int, accepted: Accepted) -> DeltaRow:
    return DeltaRow(
        delta.device, delta.round, digest, size, int(accepted.contribution.examples), delta.loss_first,
        delta.loss_last, delta.step_ms, accepted.norms, ids(delta.experts),
    )  # fmt: skip
