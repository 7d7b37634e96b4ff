"""Plans of a round: shared out among devices, signed, and in the ledger before anybody is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from broker_server.config import CODECS
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.merging import Merging
from broker_server.rounds.round_status import RoundStatus
from broker_server.rules.bundles import plan_bundles
from broker_server.rules.mask_terms import ClassCircle, Training, round_terms
from broker_server.rules.planner import Assignment, Budget, Coverage, RoundRequest, plan_round
from broker_server.rules.plans import Base, plan_message, rate_of
from broker_server.secure_config import MASKED
from broker_server.state.settings_table import HEAD_SUMS
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.secure.class_sums import class_size
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
        self._asked = frozenset[str]()  # for class sums under masks, in the round that is planned

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
        self._asked = self._to_ask(devices)
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
        budgets = [self._beside_class_sums(budget) for budget in budgets[:MOST_MEMBERS]]
        variance = MOST_VARIANCE if self._merging.budget is not None else 0
        bits = bits_for(1, most_of_sum(max(1, len(budgets)), secure.limit, variance))
        return plan_bundles(budgets, shape, number, coverage, self._request(), least=secure.trainers, bits=bits)

    def _to_ask(self, devices: Sequence[str]) -> frozenset[str]:
        """Return who is asked for class sums under masks: who never gave them. Args: devices: that may be planned for.

        Nobody is asked twice: two sums over nearly the same devices would tell by how much one of them differs.
        """
        secure, ledger = self._config.secure, self._store.ledger
        if not (secure.enabled and secure.class_sums == MASKED and self._architecture.labels):
            return frozenset()
        gave = {device for given in ledger.class_sum_givers().values() for device in given}
        asked = frozenset(devices[:MOST_MEMBERS]) - gave - ledger.statistics_digests().keys()
        return asked if len(asked) >= secure.trainers else frozenset()

    def _beside_class_sums(self, budget: Budget) -> Budget:
        """Return what a device has left for its delta when it is asked for class sums as well."""
        if budget.device not in self._asked or not budget.bytes_up:
            return budget
        return replace(budget, bytes_up=max(1, budget.bytes_up - 4 * class_size(self._architecture.bank_shape)))

    def _class_circle(self, assignments: Collection[str]) -> ClassCircle | None:
        limits, asked = self._config.limits, sorted(self._asked & set(assignments))
        if len(asked) < self._config.secure.trainers:
            return None
        examples = {device: self._roster.examples(device) for device in asked}
        return ClassCircle.of(examples, limits.weight_multiple, limits.most_examples)

    @property
    def _steps(self) -> int:
        """Steps of a plan: 1 in the first round where it asks for class sums: the head has nothing of anybody yet."""
        first = not self._store.ledger.newest_masks(1) and self._store.ledger.get(HEAD_SUMS) is None
        return 1 if self._asked and first else self._config.train.steps

    def _request(self) -> RoundRequest:
        train = self._config.train
        return RoundRequest(
            self._steps,
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
        training, secure = Training(self._steps, rates, batch), self._config.secure
        private, shape = self._merging.budget, self._architecture.bank_shape
        privacy, classes = private.privacy if private is not None else None, self._class_circle(assignments)
        return round_terms(assignments, shape, training, secure, usual, privacy=privacy, classes=classes)

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
