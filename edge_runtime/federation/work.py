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

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from edge_runtime.errors import DamagedError, PlanError
from edge_runtime.federation import delta as deltas
from edge_runtime.federation.at_hand import AtHand, UnderWay
from edge_runtime.federation.delta import PendingDelta
from edge_runtime.federation.session import WorkState
from edge_runtime.federation.unmasked import Unmasked
from edge_runtime.program.slots import need_of
from edge_runtime.store import Record, pack
from edge_runtime.training.pace import Pace, reaches
from edge_runtime.training.trainer import Checkpoint, Outcome, Task, Tools, Trainer
from edge_runtime.training.watch import Watch
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import BankError, SecureError, WireError
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.manifest import Architecture
from edge_runtime.wire.mask_checks import NOISE_VERSION
from edge_runtime.wire.secure.noise import SEED_BYTES
from edge_runtime.wire.tensors import Array


@dataclass
class Training:
    """The plan that is being trained."""

    plan: pb.Plan
    digest: bytes
    bank: Bank
    trainer: Trainer


@dataclass(kw_only=True)
class Work(AtHand):
    """A plan that waits, the one that is trained, a delta that is pending; kept on disk.

    Args:
        tools: for training.
        store: of this device.
        versions: of the bank.
        device: its id.
        signer: of its keys under masks, where it has a certificate.
        watch: chooses the tier of each plan; None takes the best for it.
    """

    tools: Tools
    watch: Watch | None = None
    training: Training | None = field(default=None, init=False)

    @property
    def architecture(self) -> Architecture:
        """What is served."""
        return self.tools.manifest.architecture

    @property
    def under_way(self) -> UnderWay | None:
        """The plan that is trained."""
        return UnderWay(self.training.plan, self.training.digest) if self.training is not None else None

    def hello(self) -> pb.Hello:
        """Return what this device can do, as a Hello tells it."""
        tools = self.tools
        return pb.Hello(
            profile=tools.manifest.device,
            trained_slots=tools.tier.trained_slots,
            held_slots=tools.tier.held_slots,
            batch_size=tools.tier.batch_size,
            step_ms=self.step_ms,
            examples=len(tools.source),
            masks=0 if self.signer is not None and self.signer.fault else NOISE_VERSION,
            signs_keys=self.signer is not None and not self.signer.fault,
            reaches=[
                pb.Reach(layers=layers, step_ms=pace.step_ms, trunk_ms=pace.trunk_ms)
                for layers, pace in self.reaches.items()
            ],
        )

    @property
    def _watch(self) -> Watch:
        return self.watch or Watch(self.tools.manifest.tiers, self.tools.tier)

    def resume(self) -> WorkState:
        """Read what an earlier process left, and return the work that it was at."""
        state = super().resume()
        if state is WorkState.UPLOADING:
            Unmasked.forget(self.store)
        return state

    def _resumed_without_plan(self) -> WorkState | None:
        self.unmasked = Unmasked.recall(self.store)
        if self.unmasked is not None:
            if self.masks.plan_digest == self.unmasked.plan_digest:
                self._drop_plan()
                return WorkState.TRAINING  # but for its masks
            self.abandon()
        return None

    def _holds(self, begun: Record) -> bool:
        """Return whether a plan holds: the head may not know other data's labels, and the gateway says what then."""
        return bool(begun.head.get("data", self._data) == self._data)

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
        self._drop_plan()
        return outcome

    def _hold(self, training: Training, outcome: Outcome, residuals: Mapping[ExpertId, Array]) -> None:
        """Keep what was trained until it can be masked. Raises: WireError: NOT_FINITE, as ``finish``."""
        record = self.store.recall("plan")
        try:
            payload = record.body if record is not None else b""
            seed = secrets.token_bytes(SEED_BYTES)
            self.unmasked = Unmasked.of(
                payload, training.bank, outcome, residuals, seed=seed, class_sums=self.class_sums
            )
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
        self._write_delta(pending)

    def _kept(self, digest: bytes) -> None:
        self._merge_residuals(digest)

    def _left(self) -> None:
        self.store.remove("residuals")

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
        self._drop_plan()

    def _drop_plan(self) -> None:
        self.training = None
        super()._drop_plan()
        self.store.remove("checkpoint")

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
