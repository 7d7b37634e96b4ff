"""The plan that a device works on, and what must outlive a kill: plan, checkpoint, delta, error feedback.

Order of writes on disk, each atomic:
    begin    plan
    step     checkpoint (every few seconds)
    finish   residuals (named by the delta's digest), delta; then plan and checkpoint go
             under masks: unmasked, then plan and checkpoint go; once it is known who dealt: residuals, delta, and
             unmasked goes (masks.py has what else a round under masks keeps)
    settle   feedback (when accepted), done; an accepted delta is renamed to sent, another one goes; residuals go
    version  of that round or a later one: sent goes
A kill between any two leaves a state from which ``resume`` goes on to the same bytes: training is deterministic, and a
residual counts only with the delta that it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from edge_runtime.errors import DamagedError, PlanError
from edge_runtime.federation import delta as deltas
from edge_runtime.federation.delta import PendingDelta, SentDelta
from edge_runtime.federation.masks import Masks
from edge_runtime.federation.session import WorkState
from edge_runtime.federation.unmasked import Unmasked
from edge_runtime.federation.versions import Versions
from edge_runtime.program.slots import need_of
from edge_runtime.store import Record, Store, pack
from edge_runtime.training.pace import Pace, reaches
from edge_runtime.training.trainer import Checkpoint, Outcome, Task, Tools, Trainer
from edge_runtime.training.watch import Watch
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import BankError, SecureError, WireError
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.tensors import Array

_REMEMBERED = 32


@dataclass
class Training:
    """The plan that is being trained."""

    plan: pb.Plan
    digest: bytes
    bank: Bank
    trainer: Trainer


@dataclass
class Work:
    """What a device has at hand: a plan that waits, the one that it trains, a delta that is pending; kept on disk.

    Args:
        tools: for training.
        store: of this device.
        versions: of the bank.
        device: its id.
        watch: chooses the tier of each plan; None takes the best for it.
    """

    tools: Tools
    store: Store
    versions: Versions
    device: str
    watch: Watch | None = None
    waiting: pb.Plan | None = None
    waiting_digest: bytes = b""
    training: Training | None = None
    pending: PendingDelta | None = None
    sent: SentDelta | None = None
    unmasked: Unmasked | None = None
    masks: Masks = field(init=False)
    """The round under masks at hand."""
    _waiting_bytes: bytes = b""
    _done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.masks = Masks(self.store, self.device)

    @property
    def _watch(self) -> Watch:
        return self.watch or Watch(self.tools.manifest.tiers, self.tools.tier)

    def resume(self) -> WorkState:
        """Read what an earlier process left, and return the work that it was at."""
        done = self.store.recall("done")
        self._done = list(done.head["plans"]) if done else []
        sent = self.store.recall("sent")
        self.sent = SentDelta(sha256(sent.body), int(sent.head["round"])) if sent is not None else None
        left = self.store.recall("delta")
        if left is not None:
            plan_digest = bytes.fromhex(left.head["plan"])
            self.pending = PendingDelta(sha256(left.body), left.body, int(left.head["round"]), plan_digest)
            self._drop_training()
            Unmasked.forget(self.store)
            return WorkState.UPLOADING
        self.unmasked = Unmasked.recall(self.store)
        if self.unmasked is not None:
            if self.masks.plan_digest == self.unmasked.plan_digest:
                self._drop_training()
                return WorkState.TRAINING  # but for its masks
            self.abandon()
        plan = self.store.recall("plan")
        if plan is None:
            return WorkState.IDLE
        if plan.head.get("data", self._data) != self._data:
            self._drop_training()  # the head may not know these data's labels: the gateway says whether the plan holds
            return WorkState.IDLE
        self.waiting, self.waiting_digest = messages.decode(pb.Plan, plan.body), sha256(plan.body)
        return WorkState.WAITING

    def take(self, payload: bytes) -> pb.Plan | None:
        """Take a plan's bytes; None when it is done, or the one at hand.

        Raises:
            WireError: when the bytes are no plan for this device.
        """
        plan, digest = messages.decode(pb.Plan, payload), sha256(payload)
        if plan.device != self.device:
            raise WireError(pb.MALFORMED, f"a plan for {plan.device} came on the topic of {self.device}")
        # A plan is retained: it comes again with every connection, also while its delta waits for the verdict.
        at_hand = [
            self.waiting_digest,
            self.training and self.training.digest,
            self.pending and self.pending.plan_digest,
            self.unmasked and self.unmasked.plan_digest,
        ]
        if digest in at_hand or digest.hex() in self._done:
            return None
        self.waiting, self.waiting_digest = plan, digest
        self._waiting_bytes = payload
        return plan

    @property
    def masks_delivered(self) -> bool:
        """Whether the delta of the round under masks at hand is made."""
        pending, sent = self.pending, self.sent
        made = pending is not None and pending.plan_digest == self.masks.plan_digest
        return made or (sent is not None and sent.round == self.masks.round)

    def withdraw(self) -> None:
        """Forget the plan that waits."""
        self.waiting, self.waiting_digest, self._waiting_bytes = None, b"", b""

    @property
    def wanted_versions(self) -> list[bytes]:
        """Digests of the versions that plans at hand start from."""
        plans = (self.waiting, self.training.plan if self.training is not None else None)
        return [plan.version_digest for plan in plans if plan is not None]

    @property
    def resumed(self) -> bool:
        """Whether the waiting plan is one that this device had begun: it may go on before a gateway is there."""
        return self.waiting is not None and not self._waiting_bytes

    @property
    def ready(self) -> bool:
        """Whether the waiting plan's version is complete."""
        if self.waiting is None:
            return False
        version = self.versions.find(self.waiting.version_digest)
        return version is not None and not self.versions.missing(version)

    def begin(self) -> Training | None:
        """Start the waiting plan, or go on with its checkpoint; None when a block of its version proved damaged.

        Raises:
            PlanError: when the plan cannot be carried out here; it is then done with.
            BankError: when its version cannot be run; the same.
        """
        plan, digest = self.waiting, self.waiting_digest
        version = self.versions.find(plan.version_digest) if plan is not None else None
        if plan is None or version is None:
            return None
        try:
            bank = self.versions.bank(version)
            if bank is None:
                return None
            trainer = self._trainer(plan, bank)
        except (PlanError, BankError):
            self._finished(digest)
            self.withdraw()
            raise
        if self._waiting_bytes:
            self.store.write("plan", Record({"data": self._data}, self._waiting_bytes))
        saved = self.store.recall("checkpoint")
        if saved is not None and self._marks(digest).items() <= saved.head.items():
            try:
                trainer.restore(Checkpoint(saved.tensors(), saved.head))
            except DamagedError:  # of another program: start the plan again
                self.store.remove("checkpoint")
        self.training = Training(plan, digest, bank, trainer)
        self.withdraw()
        return self.training

    def _marks(self, plan_digest: bytes) -> dict[str, str]:
        """What a checkpoint belongs to: other examples or roundings would make another run of the plan."""
        tools = self.tools
        return {"plan": plan_digest.hex(), "data": self._data, "rounding": tools.rounding}

    @property
    def _data(self) -> str:
        return self.tools.source.digest.hex()

    def _trainer(self, plan: pb.Plan, bank: Bank) -> Trainer:
        tools = self.tools
        task = task_of(plan)
        tier = self._watch.begin(need_of(task.train, bank.shape))
        return Trainer(replace(tools, tier=tier), bank, task)

    def adapt(self) -> str:
        """Between two steps: move to another tier if the device's memory or heat ask for it; return what was done."""
        return self._watch.look(self.training.trainer) if self.training is not None else ""

    def save(self) -> None:
        """Write a checkpoint of the training at hand."""
        if self.training is not None and self.training.trainer.steps:
            state = self.training.trainer.checkpoint()
            head = {**state.numbers, **self._marks(self.training.digest)}
            self.store.write("checkpoint", Record(head, pack(state.tensors)))

    def finish(self) -> Outcome:
        """Turn the training at hand into a delta that waits for its verdict; under masks, for who dealt before that.

        Raises:
            WireError: NOT_FINITE when training diverged; the plan is then done with.
        """
        training = self.training
        assert training is not None  # noqa: S101 - the session says TRAINING
        plan, outcome, shape = training.plan, training.trainer.outcome(), training.bank.shape
        record = self.store.recall("feedback")
        residuals = deltas.unpack_residuals(record.tensors() if record else {}, shape)
        origin = deltas.Origin(self.device, training.digest, plan.round, plan.base_version, plan.codec)
        topk = self.tools.manifest.architecture.gate == "topk"
        try:
            if plan.masks:
                self._hold(training, outcome, residuals)
            else:
                slots = training.trainer.slots
                body, left = deltas.build(origin, training.bank, slots, outcome, residuals, topk=topk)
                self._keep_delta(PendingDelta(sha256(body), body, plan.round, training.digest), left)
        except WireError:
            self.abandon()
            raise
        self._remember_pace(training.trainer, outcome.step_ms)
        self._drop_training()
        return outcome

    def _hold(self, training: Training, outcome: Outcome, residuals: Mapping[ExpertId, Array]) -> None:
        """Keep what was trained until it can be masked. Raises: WireError: NOT_FINITE, as ``finish``."""
        record = self.store.recall("plan")
        try:
            payload = record.body if record is not None else b""
            self.unmasked = Unmasked.of(payload, training.bank, outcome, residuals)
        except SecureError as error:
            raise WireError(pb.NOT_FINITE, str(error)) from error
        self.unmasked.keep(self.store)

    def mask(self) -> None:
        """Turn what was trained into a delta under masks that waits for its verdict.

        Raises:
            SecureError: when it cannot be masked; the plan is then done with.
        """
        unmasked = self.unmasked
        assert unmasked is not None  # noqa: S101 - the caller looked
        try:
            body = unmasked.delta(self.device, self.masks)
        except SecureError:
            self.abandon()
            raise
        self._keep_delta(PendingDelta(sha256(body), body, unmasked.round, unmasked.plan_digest), unmasked.left)
        self.unmasked = None
        Unmasked.forget(self.store)

    def _keep_delta(self, pending: PendingDelta, left: Mapping[ExpertId, Array]) -> None:
        """Keep a delta, and before it what its codec left behind."""
        blocks = [f"{block.layer}.{block.index}" for block in sorted(left)]
        head = {"delta": pending.digest.hex(), "blocks": blocks}
        self.store.write("residuals", Record(head, pack(deltas.pack_residuals(left))))
        self.store.write("delta", Record({"round": pending.round, "plan": pending.plan_digest.hex()}, pending.body))
        self.pending = pending

    def settle(self, *, accepted: bool) -> None:
        """Forget the delta; what its codec left behind counts for the next one when it was accepted."""
        if self.pending is None:
            return
        if accepted:
            self._merge_residuals(self.pending.digest)
        self._finished(self.pending.plan_digest)
        if accepted:
            # The gateway's disk may lose what it accepted, and then it asks for the same bytes again.
            self.store.rename("delta", "sent")
            self.sent = SentDelta(self.pending.digest, self.pending.round)
        else:
            self.store.remove("delta")
        self.store.remove("residuals")
        self.pending = None

    def sent_body(self) -> bytes | None:
        """Return the body of the accepted delta that is kept; None when there is none, or it is damaged."""
        record = self.store.recall("sent") if self.sent is not None else None
        return record.body if record is not None else None

    def round_of(self, digest: bytes) -> int:
        """Return the round of the delta at hand with this digest; 0 for another."""
        at_hand = (one for one in (self.pending, self.sent) if one is not None)
        return next((one.round for one in at_hand if one.digest == digest), 0)

    def let_go(self, round_number: int | None = None) -> None:
        """Drop the accepted delta that is kept: a version of round ``round_number`` is announced, or it is refused."""
        if self.sent is not None and (round_number is None or round_number >= self.sent.round):
            self.sent = None
            self.store.remove("sent")

    def _merge_residuals(self, digest: bytes) -> None:
        fresh = self.store.recall("residuals")
        if fresh is None or fresh.head.get("delta") != digest.hex():
            return
        old = self.store.recall("feedback")
        kept = {name: v for name, v in (old.tensors() if old else {}).items() if name not in fresh.head["blocks"]}
        if kept or fresh.body or old is not None:
            self.store.write("feedback", Record({}, pack({**kept, **fresh.tensors()})))

    def abandon(self) -> None:
        """Drop the training at hand; its plan is not taken up again."""
        if self.training is not None:
            self._finished(self.training.digest)
        if self.unmasked is not None:
            self._finished(self.unmasked.plan_digest)
            self.unmasked = None
            Unmasked.forget(self.store)
        self._drop_training()

    def refuse(self) -> None:
        """Drop the plan that waits; it is not taken up again."""
        if self.waiting is not None:
            self._finished(self.waiting_digest)
        self.withdraw()
        self._drop_training()

    def _drop_training(self) -> None:
        self.training = None
        self.store.remove("plan")
        self.store.remove("checkpoint")

    def _finished(self, plan_digest: bytes) -> None:
        if plan_digest.hex() not in self._done:
            self._done = [*self._done, plan_digest.hex()][-_REMEMBERED:]
            self.store.write("done", Record({"plans": self._done}))

    # --- how fast it is ---------------------------------------------------------------------------------------

    def _remember_pace(self, trainer: Trainer, step_ms: float) -> None:
        paces = dict(self._paces)
        if (pace := trainer.pace) is not None:
            old = paces.get(trainer.tier.method, pace)  # a round may find every prefix: the trunk is as slow as before
            paces[trainer.tier.method] = replace(pace, trunk_ms=pace.trunk_ms or old.trunk_ms)
        kept = {method: [pace.step_ms, pace.trunk_ms] for method, pace in paces.items()}
        self.store.write("measure", Record({"step_ms": step_ms, "paces": kept}))

    @property
    def _paces(self) -> dict[str, Pace]:
        record = self.store.recall("measure")
        kept = record.head.get("paces", {}) if record is not None else {}
        return {method: Pace(*map(float, times)) for method, times in kept.items()}

    @property
    def reaches(self) -> dict[int, Pace]:
        """The depths that this device can train, ascending, and how fast it is there."""
        return reaches(self._watch.tiers, self._watch.largest, self._paces)

    @property
    def step_ms(self) -> float:
        """Median step time of the last round on this device; 0 before the first."""
        record = self.store.recall("measure")
        return float(record.head["step_ms"]) if record else 0.0


def task_of(plan: pb.Plan) -> Task:
    """Return a plan's task."""
    return Task(
        train=messages.ids(plan.train),
        steps=plan.steps,
        learning_rate=plan.learning_rate,
        shared_learning_rate=plan.shared_learning_rate,
        head_learning_rate=plan.head_learning_rate,
        weight_decay=plan.weight_decay,
        seed=plan.seed,
        use={layer.layer: np.array(layer.use, np.float32) for layer in plan.use},
        pressure=plan.balance_pressure,
    )
