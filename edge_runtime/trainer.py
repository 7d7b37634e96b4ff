"""One round of local steps: a task's experts in a program's slots, step by step, resumable after any of them.

Axes: L adapted layers, M experts, m trained slots, H held slots, C labels, B batch, S sequence length, N examples.
A run is a function of (bank, task, examples): batches follow from the seed and the step's number, so a run that was
killed and went on from a checkpoint ends with the same values as one that was not, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_runtime import slots as placement
from edge_runtime.batches import Source, batch_of, label_counts
from edge_runtime.cache import PrefixCache
from edge_runtime.data import BatchOrder
from edge_runtime.errors import DamagedError
from edge_runtime.heterogeneity import balance_target, balance_weight, divergence
from edge_runtime.signature import Executor
from edge_runtime.tokenizer import Tokenizer
from edge_runtime.trunk import DEFAULT_ROUNDING, Trunk
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, ExpertId
from edge_runtime.wire.manifest import Manifest, Tier
from edge_runtime.wire.tensors import Array

BETA1: Final = 0.9
BETA2: Final = 0.999
_MOVING: Final = ("trained", "shared", "head")


@dataclass(frozen=True)
class Task:
    """What to train.

    Args:
        train: blocks, any order.
        steps: optimizer steps.
        learning_rate: of experts; the other two of shared experts and of the head, where they are trained.
        weight_decay: decoupled (AdamW).
        seed: of the batch order.
        decay: factors on the learning rates at the first step and after the last, linear between.
        use: top-k only: u of each layer, [M] by layer number.
        pressure: top-k only: Lambda.
    """

    train: tuple[ExpertId, ...]
    steps: int
    learning_rate: float
    shared_learning_rate: float = 0.0
    head_learning_rate: float = 0.0
    weight_decay: float = 0.0
    seed: int = 0
    decay: tuple[float, float] = (1.0, 1.0)
    use: Mapping[int, Array] = field(default_factory=dict)
    pressure: float = 0.0


@dataclass(frozen=True)
class Tools:
    """What training needs.

    Args:
        program: runs the tier's method.
        manifest: of the package.
        tokenizer: of the package.
        source: N examples.
        tier: whose method is used.
        clock: seconds, for step times only.
        cache: of the prefixes of a tier that has a trunk; None computes them in every step.
        rounding: of prefixes, whether they are cached or not.
    """

    program: Executor
    manifest: Manifest
    tokenizer: Tokenizer
    source: Source
    tier: Tier
    clock: Callable[[], float] = time.perf_counter
    cache: PrefixCache | None = None
    rounding: str = DEFAULT_ROUNDING

    @property
    def trunk(self) -> Trunk | None:
        """What computes the tier's prefixes; None when its method takes token ids."""
        if not self.tier.trunk_method:
            return None
        return Trunk(self.program, self.manifest, self.tier.trunk_method, self.cache, self.rounding)


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands: tensors (values, moments, usage sums) and numbers that JSON can hold."""

    tensors: dict[str, Array]
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Args:
        blocks: values of the task's blocks after the last step.
        examples: different examples that were trained on.
        label_counts: [C] of these examples.
        losses: one for each step.
        step_ms: median.
        routed: [L, H] tokens by slot (soft gates: sums of gates).
        seen: tokens.
    """

    blocks: dict[ExpertId, Array]
    examples: int
    label_counts: Array
    losses: tuple[float, ...]
    step_ms: float
    routed: Array
    seen: float

    @property
    def loss_first(self) -> float:
        """Mean loss of the first fifth of the steps (at least one)."""
        return float(np.mean(self.losses[: max(1, len(self.losses) // 5)]))

    @property
    def loss_last(self) -> float:
        """Mean loss of the last fifth."""
        return float(np.mean(self.losses[-max(1, len(self.losses) // 5) :]))


class Trainer:
    """Runs one task; call ``step`` until ``done``.

    Args:
        tools: for training.
        bank: to start from; not changed.
        task: what to train.

    Raises:
        PlanError: when the task does not fit the tier or the bank.
    """

    def __init__(self, tools: Tools, bank: Bank, task: Task) -> None:
        self._program, self._architecture, self._task = tools.program, tools.manifest.architecture, task
        self._source, self._tokenizer, self._clock = tools.source, tools.tokenizer, tools.clock
        self.tier, self._bank, self._trunk = tools.tier, bank, tools.trunk
        self.slots: Final = placement.place(task.train, self._architecture, self.tier)
        self._order = BatchOrder(task.seed, len(tools.source), self.tier.batch_size)
        self._values: dict[str, Array] = placement.inputs(bank, self.slots)
        for name in [name for name in _MOVING if name in self._values]:
            for moment in (f"{name}_m1", f"{name}_m2"):
                self._values[moment] = np.zeros_like(self._values[name])
        self._rates = self._learning_rates()
        self._held_rows = self._frozen_shared_rows()
        self._routed = np.zeros(self.slots.held.shape, np.float64)
        self._seen = 0.0
        self.losses: list[float] = []
        self._times: list[float] = []

    @property
    def steps(self) -> int:
        """Steps that were made."""
        return len(self.losses)

    @property
    def done(self) -> bool:
        """Whether every step was made."""
        return self.steps >= self._task.steps

    def step(self) -> float:
        """Make one step and return its loss."""
        began = self._clock()
        given = self._batch()
        given |= {name: value for name, value in self._values.items() if name not in given}
        given |= {"gate_scale": self.slots.gate_scale, "update_mask": self.slots.update_mask, "hyper": self._hyper()}
        if self._architecture.gate == "topk":
            given |= self._balance()
        found = self._program.execute(self.tier.method, given)
        self._values |= {name: found[name] for name in self._values if name in found}
        for row in self._held_rows:
            self._values["shared"][row] = self._bank.shared[row]
        tokens = float(given["mask"].sum())
        self._routed += found["usage"].astype(np.float64) * tokens
        self._seen += tokens
        self.losses.append(float(found["loss"][0]))
        self._times.append((self._clock() - began) * 1000)
        return self.losses[-1]

    @property
    def last_ms(self) -> float:
        """Milliseconds of the last step; 0 before the first."""
        return self._times[-1] if self._times else 0.0

    def checkpoint(self) -> Checkpoint:
        """Return all that is needed to go on later."""
        kept = {name: value for name, value in self._values.items() if name not in ("frozen", "mean")}
        # float64 sums in two float32 halves: what came back must equal what was kept.
        high = self._routed.astype(np.float32)
        kept |= {"routed": high, "routed_rest": (self._routed - high).astype(np.float32)}
        return Checkpoint(kept, {"losses": self.losses, "step_ms": self._times, "seen": self._seen})

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint of the same task.

        Raises:
            DamagedError: when it is of another task or program; nothing is changed then.
        """
        wanted = {name: value.shape for name, value in self.checkpoint().tensors.items()}
        found = {name: value.shape for name, value in saved.tensors.items()}
        if found != wanted:
            raise DamagedError("the checkpoint belongs to another task or program; the round starts again")
        routed, rest = saved.tensors["routed"], saved.tensors["routed_rest"]
        self._routed = routed.astype(np.float64) + rest.astype(np.float64)
        self._values |= {name: value for name, value in saved.tensors.items() if name in self._values}
        self._seen = float(saved.numbers["seen"])
        self.losses = [float(loss) for loss in saved.numbers["losses"]]
        self._times = [float(ms) for ms in saved.numbers["step_ms"]]

    def outcome(self) -> Outcome:
        """Return what the steps made so far gave (at least one)."""
        rows = self._trained_rows()
        shape = self._bank.shape
        return Outcome(
            placement.blocks(self._task.train, shape, self.slots, self._values),
            len(rows),
            label_counts(self._source, rows, shape.labels),
            tuple(self.losses),
            float(np.median(self._times)),
            self._routed.astype(np.float32),
            self._seen,
        )

    def _trained_rows(self) -> npt.NDArray[np.int64]:
        count = len(self._source)
        if self.steps * self.tier.batch_size >= count:
            return np.arange(count, dtype=np.int64)
        return np.array([row for step in range(self.steps) for row in self._order.rows(step)], np.int64)

    def _batch(self) -> dict[str, npt.NDArray[Any]]:
        rows = self._order.rows(self.steps)
        given = batch_of(self._source, rows, self._tokenizer, self._bank.shape.labels, self.tier.seq_len)
        return given if self._trunk is None else self._trunk.in_place_of_ids(given)

    def _learning_rates(self) -> tuple[float, float, float]:
        """Rates of experts, shared experts, head; 0 keeps what the task does not train bit for bit."""
        task = self._task
        shared = task.shared_learning_rate if any(block.shared for block in task.train) else 0.0
        return task.learning_rate, shared, task.head_learning_rate if HEAD in task.train else 0.0

    def _frozen_shared_rows(self) -> list[int]:
        """Rows of shared experts that must not move although others do: the program has one rate for all of them."""
        moving = {block.layer for block in self._task.train if block.shared}
        if not moving or not self._bank.shared.size:
            return []
        return [row for row, layer in enumerate(self._bank.shape.layers) if layer not in moving]

    def _hyper(self) -> Array:
        step = self.steps + 1
        first, last = self._task.decay
        factor = first + (last - first) * self.steps / self._task.steps
        experts, shared, head = (rate * factor for rate in self._rates)
        corrections = (1 / (1 - BETA1**step), 1 / (1 - BETA2**step))
        return np.array([experts, head, self._task.weight_decay, *corrections, shared, 0, 0], np.float32)

    def _balance(self) -> dict[str, Array]:
        held, experts = self.slots.held.shape[1], self._bank.shape.experts
        target = np.full(self.slots.held.shape, 1 / held, np.float32)
        weight = np.zeros(len(target), np.float32)
        for row, layer in enumerate(self._bank.shape.layers):
            use = self._task.use.get(layer)
            if use is None or len(use) != experts:
                continue
            mine = use[self.slots.held[row]]
            target[row] = balance_target(mine, float(use.mean()))
            unlike = divergence(self._routed[row].astype(np.float32), mine)
            weight[row] = balance_weight(self._task.pressure, unlike, held, experts)
        return {"balance_target": target, "balance_weight": weight}
