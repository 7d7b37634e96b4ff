"""Plans of a round: shared out among devices, signed, and in the ledger before anybody is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker_server.config import CODECS
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.merging import Merging
from broker_server.rounds.round_status import RoundStatus
from broker_server.rules.bundles import plan_bundles
from broker_server.rules.mask_terms import Training, round_terms
from broker_server.rules.planner import Assignment, Coverage, RoundRequest, plan_round
from broker_server.rules.plans import Base, plan_message, rate_of
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.secure.graph import MOST_MEMBERS
from edge_runtime.wire.secure.noise import MOST_VARIANCE, most_of_sum
from edge_runtime.wire.secure.ring import bits_for
from edge_runtime.wire.topics import Topic

NORM_ROUNDS: Final = 8
"""Rounds under masks whose norms say what is usual."""


@dataclass(frozen=True)
class Planned:
    """What was planned, by device. Args: assignments: what each trains; payloads: that tell it so, signed."""

    assignments: Mapping[str, Assignment]
    payloads: dict[str, bytes]


class RoundPlans:
    """Args: parts: shared parts of the gateway; merging: has the newest version, which plans are made from."""

    def __init__(self, parts: GatewayParts, merging: Merging) -> None:
        self._config, self._store, self._roster, self._signer = parts.config, parts.store, parts.roster, parts.signer
        self._architecture = parts.store.manifest.architecture
        self._merging = merging

    def open(
        self,
        devices: Sequence[str],
        number: int,
        wall: float,
        *,
        turn: int | None = None,
        at_work: Mapping[ExpertId, int] | None = None,
    ) -> Planned | None:
        """Plan a new round and keep it; return None, and keep nothing, when no device's budget has room for an expert.

        Args:
            devices: that may be planned for, by name.
            number: of the round.
            wall: seconds since 1970.
            turn: of the learning rate, which falls from turn to turn; None: the round.
            at_work: how often each block is in training already.

        Raises:
            StorageError: when the disk refuses.
        """
        assignments = self._assignments(devices, number, at_work or {})
        if not assignments:
            return None
        terms, masks = self._masks(assignments, number) if self._config.secure.enabled else (None, {})
        plans = self._payloads(assignments, number, {}, turn, masks)
        with self._store.ledger.transaction():
            self._store.ledger.open_round(number, self._merging.row.version, plans, wall)
            if terms is not None:
                self._store.ledger.open_masks(number, terms.SerializeToString())
        self._store.note_round()
        return Planned(assignments, plans)

    def extend(self, status: RoundStatus, devices: Sequence[str]) -> Planned:
        """Plan for more devices in a round that waits once more, and keep that.

        Args:
            status: of the round.
            devices: that may be planned for, by name; the round waits once more without any, too.

        Raises:
            StorageError: when the disk refuses.
        """
        assignments = self._assignments(devices, status.number, {}) if devices else {}
        attempts = dict.fromkeys(status.void, status.extensions + 1)
        plans = self._payloads(assignments, status.number, attempts)
        with self._store.ledger.transaction():
            self._store.ledger.add_plans(status.number, plans)
            self._store.ledger.extend_round(status.number)
        self._store.note_round()
        return Planned(assignments, plans)

    def _assignments(
        self, devices: Collection[str], number: int, at_work: Mapping[ExpertId, int]
    ) -> dict[str, Assignment]:
        total = dict(at_work)
        for block, (_, times) in self._store.ledger.trainers_by_block().items():
            total[block] = total.get(block, 0) + times
        layers = len(self._architecture.bank_shape.layers)
        budgets = [self._roster.budget(device, layers) for device in devices]
        coverage = Coverage(total, self._store.ledger.trained_by(devices), self._store.ledger.distrusted())
        shape, secure = self._architecture.bank_shape, self._config.secure
        if not secure.enabled:
            return plan_round(budgets, shape, number, coverage, self._request())
        budgets = budgets[:MOST_MEMBERS]
        variance = MOST_VARIANCE if self._merging.budget is not None else 0
        bits = bits_for(1, most_of_sum(max(1, len(budgets)), secure.limit, variance))
        return plan_bundles(budgets, shape, number, coverage, self._request(), least=secure.trainers, bits=bits)

    def _request(self) -> RoundRequest:
        train = self._config.train
        return RoundRequest(
            train.steps,
            CODECS[train.codec],
            train_head=train.head_share > 0,
            train_shared=train.shared_share > 0,
            seconds=self._config.round.training_s,
            most_steps=train.most_steps,
            enough_steps=train.enough_steps,
            most_epochs=train.most_epochs,
        )

    def _base(self, number: int, turn: int) -> Base:
        row = self._merging.row
        return Base(number, row.version, row.digest, self._merging.balance, turn)

    def _masks(
        self, assignments: Mapping[str, Assignment], number: int
    ) -> tuple[pb.MaskTerms, dict[str, pb.MaskTerms]]:
        """Return how a round goes under masks, and what each plan says of it."""
        train, rate = self._config.train, rate_of(self._config, number)
        rates = {"expert": rate, "shared": rate * train.shared_share, "head": rate * train.head_share}
        batch = max(tier.batch_size for tier in self._store.manifest.tiers)
        usual: dict[str, float] = {}
        for row in self._store.ledger.newest_masks(NORM_ROUNDS):
            for kind, norm in row.told.get("norms", {}).items():
                usual[kind] = max(usual.get(kind, 0.0), norm)
        training = Training(train.steps, rates, batch)
        private, shape = self._merging.budget, self._architecture.bank_shape
        privacy = private.privacy if private is not None else None
        return round_terms(assignments, shape, training, self._config.secure, usual, privacy=privacy)

    def _payloads(
        self,
        assignments: Mapping[str, Assignment],
        number: int,
        attempts: Mapping[str, int],
        turn: int | None = None,
        masks: Mapping[str, pb.MaskTerms] | None = None,
    ) -> dict[str, bytes]:
        base = self._base(number, number if turn is None else turn)
        messages = {
            device: plan_message(
                device, part, base, self._config, attempts.get(device, 0), masks=masks[device] if masks else None
            )
            for device, part in assignments.items()
        }
        return {device: self._signer.signed(Topic.PLAN, device, payload) for device, payload in messages.items()}
