"""One run: an arm in a cell with a seed, round by round; it can stop after any round and go on later.

Axes: R rounds, N clients, B texts of a step, n test texts, L layers, M experts.

What a round is like for every arm: devices fetch what changed, train as long as their time allows, send int8 deltas;
who left, or came too late, is not merged. Time is reckoned by the fleet, nothing is timed here.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import record
from benchmarks.federation import saved
from benchmarks.federation.arms import arm_of
from benchmarks.federation.arms.base import EVERYBODY, Arm, Learned, State, Values, Work
from benchmarks.federation.codec import CODECS, Downlink, Uplink
from benchmarks.federation.experiment import Task, settings_of
from benchmarks.federation.figures import Curve, Run, own_accuracy, own_weights
from benchmarks.federation.fleet import transfer_s
from benchmarks.federation.personal import Federation, Personal, measure
from benchmarks.federation.place import Ground, accuracy
from benchmarks.federation.reading import Rows
from benchmarks.federation.stacked import Job, train
from broker_server.gate_config import Gate
from broker_server.rules.gate import judge
from edge_runtime.wire.order import epoch_order

SAVE_EVERY_S = 120.0
MODELS_AT_ONCE = 16
"""Clients' own models that are evaluated together."""
Progress = Callable[[int, float], None]
"""Is told the round and the validation accuracy."""


@dataclass
class Books:
    """What is noted of a run.

    Args:
        numbers: a list for each column of a Curve.
        trained: [L, M].
        routed: [L, M].
        plans: by client.
        served: validation accuracies of the versions that a gate let through.
        seconds: of computing.
    """

    numbers: dict[str, list[float]] = field(default_factory=lambda: {one.name: [] for one in dataclasses.fields(Curve)})
    trained: npt.NDArray[np.float64] | None = None
    routed: npt.NDArray[np.float64] | None = None
    plans: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    served: list[float] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Position:
    """Where a run stands. Args: number: rounds that are done; state: of the arm; both ways' memory; books."""

    number: int
    state: State
    up: Uplink
    down: Downlink
    books: Books


class Simulation:
    """A run. Args: task: what; ground: where; folder: of states of runs that stopped."""

    def __init__(self, task: Task, ground: Ground, folder: Path | None = None) -> None:
        self.task, self.ground = task, ground
        self.arm: Arm = arm_of(task.arm.arm, ground.setup)
        self._file = folder / f"{task.key}.npz" if folder else None
        codec = CODECS[task.arm.settings.codec]
        down = Downlink(codec, self.arm.sent, feedback=self.arm.feedback)
        books = Books(plans=np.zeros((len(ground.shares), 3)))
        self.at = Position(0, self.arm.start(), Uplink(codec, self.arm.feedback), down, books)
        self._weights = own_weights(ground.targets[ground.test], ground.counts.astype(np.float64))
        count = round(task.attack.share * len(ground.shares))
        self._liars = set(np.random.default_rng([task.seed, 99]).permutation(len(ground.shares))[:count].tolist())

    def run(self, stop: Callable[[], bool] = lambda: False, progress: Progress = lambda _number, _right: None) -> bool:
        """Make the rounds that are left; return whether the run is complete. Args: stop: asked after each round."""
        self._go_on()
        began = kept = time.monotonic()
        books = self.at.books
        if not books.numbers["test"]:
            self._evaluate()
        while self.at.number < self.task.arm.settings.rounds:
            if stop():
                books.seconds += time.monotonic() - began
                self._save()
                return False
            self.round()
            progress(self.at.number, books.numbers["validation"][-1])
            if time.monotonic() - kept > SAVE_EVERY_S:
                books.seconds += time.monotonic() - began
                began = kept = time.monotonic()
                self._save()
        books.seconds += time.monotonic() - began
        return True

    def round(self) -> None:
        """Make one round."""
        at, number = self.at, self.at.number + 1
        works, anew = at.down.anew(self.arm.assign(at.state, number, self.ground.fleet.here(number)), at.state)
        down = [self._fetched(work, size) for work, size in zip(works, anew, strict=True)]
        up = [self._sent(work) for work in works]
        answering, wall, busy = self._closed(number, works, up, down)
        jobs = [Job(works[place], self.draws(works[place], number)) for place in answering]
        learned = self._learned(jobs)
        merged = self.arm.merge(at.state, learned)
        if self._passes(merged):
            at.state = at.down.publish(at.state, merged)
        at.number = number
        costs = {"bytes_up": sum(up[place] for place in answering), "bytes_down": sum(down)}
        self._note(works, learned, {**costs, "device_s": busy, "wall_s": wall})
        last = number == self.task.arm.settings.rounds
        self._evaluate(anew=last or number % self.task.arm.settings.evaluate_every == 0)

    def draws(self, work: Work, number: int) -> Rows:
        """Return the rows of a work's texts, [steps, B], in the product's order; the same for every arm."""
        own = self._texts_of(work.client)
        words = f"{self.task.seed}/{work.client}/{number}".encode()
        seed = int.from_bytes(hashlib.sha256(words).digest()[:8], "little") >> 1
        count = work.steps * self.ground.setup.batch
        epochs = [epoch_order(seed, epoch, len(own)) for epoch in range(math.ceil(count / len(own)))]
        return own[np.concatenate(epochs)[:count]].reshape(work.steps, -1)

    def _texts_of(self, client: int) -> Rows:
        return np.concatenate(self.ground.shares) if client == EVERYBODY else self.ground.shares[client]

    def _fetched(self, work: Work, anew: int) -> int:
        return 0 if self._stays(work) else anew + self.at.down.fetch(work, self.at.state)

    def _sent(self, work: Work) -> int:
        return 0 if self._stays(work) else self.at.up.size(work)

    def _stays(self, work: Work) -> bool:
        """Whether nothing of a work goes over the wire."""
        return self.arm.personal or work.client == EVERYBODY

    def _closed(
        self, number: int, works: Sequence[Work], up: Sequence[int], down: Sequence[int]
    ) -> tuple[list[int], float, float]:
        """Return whose works are merged, seconds until the round ended, and seconds of all devices."""
        fleet, setup = self.ground.fleet, self.ground.setup
        took = {}
        for work, sent, fetched in zip(works, up, down, strict=True):
            if work.client == EVERYBODY:
                continue
            device = fleet.devices[work.client]
            depth = max(1, setup.sizes.layers - work.lowest_layer)
            examples = setup.examples[work.client]
            training = device.training_s(depth, work.steps, examples, setup.batch, work.fresh)
            took[work.client] = training + transfer_s(device, sent, fetched)
        closed = fleet.close(took, fleet.luck(number))
        answered = {*closed.answered, EVERYBODY}
        return [place for place, work in enumerate(works) if work.client in answered], closed.wall_s, closed.busy_s

    def _learned(self, jobs: Sequence[Job]) -> list[Learned]:
        results = []
        labels = self.ground.counts.shape[1]
        for job, outcome in zip(jobs, train(self.ground.frozen, jobs), strict=True):
            work, values = job.work, outcome.values
            if work.client in self._liars and self.at.number + 1 >= self.task.attack.start:
                values = _lied(work, values, self.task.attack.factor)
            if not self._stays(work):
                values = self.at.up.send(work, values)
            different = np.unique(job.draws)
            counts = np.bincount(self.ground.targets[different], minlength=labels).astype(np.float32)
            last = float(np.mean(outcome.losses[-max(1, work.steps // 5) :]))
            whole = {**work.values, **values}
            results.append(
                Learned(
                    work.client, work, whole, len(different), counts, work.steps, outcome.routed, outcome.seen, last
                )
            )
        return results

    def _note(self, works: Sequence[Work], learned: Sequence[Learned], costs: Mapping[str, float]) -> None:
        books = self.at.books
        for name, value in {**costs, "answered": len(learned)}.items():
            books.numbers[name].append(value)
        for work in works:
            if work.client != EVERYBODY:
                books.plans[work.client] += (1, self.ground.setup.sizes.layers - work.lowest_layer, work.steps)
        for one in learned:
            mask = one.work.masks.get("experts")
            if mask is not None and mask.ndim == 3 and mask.shape[1]:
                books.trained = _plus(books.trained, np.asarray(mask[..., 0], np.float64))
            if one.routed is not None:
                books.routed = _plus(books.routed, one.routed)

    def _passes(self, merged: State) -> bool:
        """Return whether the gate lets a version through; one that it does not is as if its round had not been."""
        margin, served = self.task.arm.settings.version_gate, self.at.books.served
        if margin < 0:
            return True
        if not served:
            served.append(self._validated(self.at.state))
        references = dict(enumerate(served[-Gate.versions :]))
        value = self._validated(merged)
        if not judge(len(served), "accuracy", value, references, margin).served:
            return False
        served.append(value)
        return True

    def _validated(self, state: State) -> float:
        """Return the accuracy of a merged model on validation texts."""
        form, values = self.arm.served(state)
        rows = self.ground.validation
        return float(accuracy(self.ground.frozen.logits(form, [values], rows), self.ground.targets[rows]).mean())

    def _evaluate(self, *, anew: bool = True) -> None:
        numbers = self.at.books.numbers
        if anew:
            right = self.right()
            cut = len(self.ground.validation)
            numbers["validation"].append(float(right[:, :cut].mean()))
            numbers["test"].append(float(right[:, cut:].mean()))
        else:
            for name in ("validation", "test"):
                numbers[name].append(numbers[name][-1])

    def right(self) -> npt.NDArray[np.bool_]:
        """Return which texts of validation, then test, are predicted right: [1, n], or [N, n] by own models."""
        rows = np.concatenate([self.ground.validation, self.ground.test])
        clients = range(len(self.ground.shares)) if self.arm.personal else [None]
        served = [self.arm.served(self.at.state, client) for client in clients]
        parts = []
        for first in range(0, len(served), MODELS_AT_ONCE):
            some = served[first : first + MODELS_AT_ONCE]
            logits = self.ground.frozen.logits(some[0][0], [values for _, values in some], rows)
            parts.append(accuracy(logits, self.ground.targets[rows]))
        return np.concatenate(parts)

    def result(self) -> Run:
        """Return the line of a complete run."""
        books, setup = self.at.books, self.ground.setup
        right = self.right()[:, len(self.ground.validation) :]
        plans = np.maximum(books.plans[:, :1], 1)
        own_models = self._personal()
        rows = {name: _rows(value) for name, value in (("trained", books.trained), ("load", _shares(books.routed)))}
        return Run(
            self.task.experiment,
            self.task.cell,
            self.task.arm.name,
            self.task.seed,
            Curve(**{name: tuple(values) for name, values in books.numbers.items()}),  # type: ignore[arg-type]
            own=tuple(own_accuracy(right, self._weights).tolist()),
            profiles=tuple(device.profile for device in setup.devices),
            examples=setup.examples,
            layers=tuple((books.plans[:, 1] / plans[:, 0]).tolist()),
            steps=tuple((books.plans[:, 2] / plans[:, 0]).tolist()),
            **rows,
            personal=own_models.own,
            everybody=own_models.everybody,
            options={"arm": self.task.arm.arm, **self.task.arm.options},
            settings=settings_of(self.task) | ({"personal_rates": own_models.rates} if own_models.rates else {}),
            seconds=round(books.seconds, 1),
            where={
                "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
                "machine": _machine(self.ground),
                "commit": record.commit(),
            },
        )

    def _personal(self) -> Personal:
        """Return what clients' own models are worth where the experiment asks for them."""
        tuning, ground = self.task.personal, self.ground
        if tuning is None or self.arm.personal:
            return Personal({}, {})
        form, values = self.arm.served(self.at.state)
        rows = ground.shares, ground.validation, ground.test
        batch, seed = ground.setup.batch, self.task.seed
        return measure(Federation(ground.frozen, ground.targets, *rows, form, values, batch, seed), tuning)

    def _go_on(self) -> None:
        if self._file is not None and self._file.is_file():
            saved.load(self._file, self.at)

    def _save(self) -> None:
        if self._file is not None:
            saved.save(self._file, self.at)

    def forget(self) -> None:
        """Remove the state that was kept, once the run's line is written."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def _machine(ground: Ground) -> str:
    import torch  # noqa: PLC0415 - already loaded; named here alone

    device = ground.frozen.encoder.device
    name = torch.cuda.get_device_name(device) + ", " if device.type == "cuda" else ""
    return name + record.machine()


def _lied(work: Work, values: Values, factor: float) -> Values:
    """Return values whose change from the start is multiplied with ``factor``."""
    return {
        name: work.values[name] + np.float32(factor) * (value - work.values[name]) for name, value in values.items()
    }


def _plus(total: npt.NDArray[np.float64] | None, more: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return more if total is None else total + more


def _shares(routed: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64] | None:
    if routed is None:
        return None
    shares: npt.NDArray[np.float64] = routed / np.maximum(routed.sum(1, keepdims=True), 1e-12)
    return shares


def _rows(values: npt.NDArray[np.float64] | None) -> Any:  # noqa: ANN401 - nested tuples of floats
    return () if values is None else tuple(tuple(row) for row in values.tolist())
