"""The training of a plan: begun, one step a turn, and what it comes to; told as it goes.

Nothing here changes the session: methods say which of its events follows, and the device applies it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edge_runtime.errors import PlanError
from edge_runtime.federation.config import RunConfig
from edge_runtime.federation.report import Report
from edge_runtime.federation.session import Event
from edge_runtime.federation.work import Training, Work
from edge_runtime.program.memory import peak_rss_mib
from edge_runtime.wire import messages
from edge_runtime.wire.errors import BankError, SecureError, WireError

_STEP_EVENTS_S: Final = 0.2


class PlanTraining:
    """Trains the plan at hand.

    Args:
        config: its budget, and how often a checkpoint is written.
        work: the plan at hand and its training.
        report: where events are told.
        clock: seconds.
    """

    def __init__(self, config: RunConfig, work: Work, report: Report, clock: Callable[[], float]) -> None:
        self._config, self._work, self._report, self._clock = config, work, report, clock
        self._saved_at = self._told_at = 0.0
        self._spent_s = 0.0

    def begin(self) -> Event | None:
        """Start the waiting plan, or go on with its checkpoint.

        Returns:
            FAILED when it cannot be carried out here, DAMAGED when a block of its version is, else None.
        """
        try:
            training = self._work.begin()
        except (PlanError, BankError) as error:
            return self._give_up(str(error))
        if training is None:
            return Event.DAMAGED
        self._saved_at, self._spent_s = self._clock(), 0.0
        plan, trainer = training.plan, training.trainer
        blocks = [f"{block.layer}.{block.index}" for block in messages.ids(plan.train)]
        layers, adapted = trainer.need.layers, len(training.bank.shape.layers)
        depth = f" of the top {layers} of {adapted} layers" if layers < adapted else ""
        text = f"round {plan.round}: training {len(blocks)} blocks{depth} from version {plan.base_version}"
        text += f", going on after step {trainer.steps}" if trainer.steps else ""
        self._report.emit(
            "round",
            text,
            round=plan.round,
            base_version=plan.base_version,
            blocks=blocks,
            layers=layers,
            tier=trainer.tier.method,
            steps=plan.steps,
            step=trainer.steps,
        )
        return None

    def step(self) -> Event | None:
        """Make one step; after the last, or when the budget's time is spent, turn what was learned into a delta.

        Returns:
            TRAINED when the delta is there, FAILED when training diverged or its round under masks is over, else None.
        """
        training = self._work.training
        if training is None:
            return self._mask() if self._work.unmasked is not None else None
        trainer, limit = training.trainer, self._config.budget.round_seconds
        if trainer.done or (limit and trainer.steps and self._spent_s >= limit):
            return self._finish(training.plan.round)
        self._step(training)
        return None

    def _step(self, training: Training) -> None:
        trainer = training.trainer
        moved = self._work.adapt()
        if moved:
            self._report.emit("tier", f"round {training.plan.round}: {moved}", moved=moved, tier=trainer.tier.method)
        loss = trainer.step()
        self._spent_s += trainer.last_ms / 1000
        self._tell_step(training.plan.round, trainer.steps, training.plan.steps, loss, trainer.last_ms)
        if self._clock() - self._saved_at >= self._config.checkpoint_s:
            self._work.save()
            self._saved_at = self._clock()

    def _finish(self, number: int) -> Event | None:
        try:
            outcome = self._work.finish()
        except WireError as error:
            return self._give_up(f"round {number}: training diverged, nothing is sent ({error.detail})")
        fields = {"loss_first": round(outcome.loss_first, 4), "loss_last": round(outcome.loss_last, 4)}
        self._report.emit(
            "trained",
            f"round {number}: loss {fields['loss_first']:.3f} -> {fields['loss_last']:.3f}; {outcome.fill}",
            round=number,
            steps=len(outcome.losses),
            step_ms=round(outcome.step_ms, 2),
            examples=outcome.examples,
            peak_rss_mib=round(peak_rss_mib(), 1),
            **outcome.fill.figures(),
            **fields,
        )
        return Event.TRAINED if self._work.pending is not None else self._mask()

    def _mask(self) -> Event | None:
        """Put what was trained under masks, once it is known who dealt; None until then."""
        unmasked, masks = self._work.unmasked, self._work.masks
        if unmasked is None:
            return None
        if masks.plan_digest != unmasked.plan_digest:
            return self._give_up(f"round {unmasked.round}: the round under masks is over before this device was done")
        if not masks.ready:
            return None
        try:
            self._work.mask()
        except (SecureError, WireError) as error:
            return self._give_up(f"round {unmasked.round}: nothing is sent ({error})")
        self._report.emit("masked", f"round {unmasked.round}: the delta is under masks", round=unmasked.round)
        return Event.TRAINED

    def _give_up(self, reason: str) -> Event:
        self._report.emit("error", reason, reason=reason)
        return Event.FAILED

    def _tell_step(self, number: int, step: int, steps: int, loss: float, ms: float) -> None:
        now = self._clock()
        if step == steps or now - self._told_at >= _STEP_EVENTS_S:
            self._told_at = now
            self._report.emit("step", round=number, step=step, steps=steps, loss=round(loss, 4), step_ms=round(ms, 2))
