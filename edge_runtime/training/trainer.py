"""One round of local steps: a task's experts in a program's slots, step by step, resumable after any of them.

Axes: L adapted layers, k of them that a tier trains, M experts, m trained slots, H held slots, C labels, B texts of a
step at most, N examples.
A run is a function of (bank, task, examples): a step's texts follow from the seed and from how many the steps before
took, so a run that was killed and went on from a checkpoint ends with the same values as one that was not, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_runtime.data.batches import Reader, Source, label_counts
from edge_runtime.data.examples import EntryOrder
from edge_runtime.data.packed import tier_capacity
from edge_runtime.data.prefix_cache import PrefixCache
from edge_runtime.data.stream import Step, TextStream
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.data.trunk import DEFAULT_ROUNDING, Trunk, drop_older
from edge_runtime.data.windows import WindowSource
from edge_runtime.errors import DamagedError, PlanError
from edge_runtime.program import slots as placement
from edge_runtime.program.signature import Executor
from edge_runtime.training import carry
from edge_runtime.training.heterogeneity import balance_target, balance_weight, divergence
from edge_runtime.training.micro_batches import run_step
from edge_runtime.training.pace import Pace, Stretch
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, ExpertId
from edge_runtime.wire.fill import Fill
from edge_runtime.wire.manifest import Manifest, Tier
from edge_runtime.wire.tensors import Array

Sums = npt.NDArray[np.float64]

READ_AHEAD: Final = 64
"""Texts whose prefixes are computed together."""


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

    def trunk(self, bank: Bank) -> Trunk | None:
        """Return what computes the tier's prefixes with a bank's lower layers; None when its method takes token ids."""
        if not self.tier.trunk_methods:
            return None
        lower = placement.lower(bank, self.tier.layers)
        return Trunk(self.program, self.manifest, self.tier, self.cache, self.rounding, lower=lower, clock=self.clock)

    def reader(self, bank: Bank, source: Source | None = None) -> Reader:
        """Return what reads texts for the tier's steps with a bank: those to train on, or of another source."""
        labels = len(self.manifest.architecture.labels)
        own = self.source if source is None else source
        return Reader(own, self.tokenizer, labels, self.tier.seq_len, self.trunk(bank))


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
        routed: [k, H] tokens by slot (soft gates: sums of gates).
        seen: [k, H] tokens that came by while the slot's expert was held.
        fill: how full the steps were.
    """

    blocks: dict[ExpertId, Array]
    examples: int
    label_counts: Array
    losses: tuple[float, ...]
    step_ms: float
    routed: Array
    seen: Array
    fill: Fill

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
        self._program, self._manifest, self._task = tools.program, tools.manifest, task
        self._architecture = tools.manifest.architecture
        self._clock, self.tier, self._bank, self._tools = tools.clock, tools.tier, bank, tools
        self.need: Final = placement.need_of(task.train, bank.shape)
        self.slots = placement.place(task.train, self._architecture, self.tier)
        self._order = EntryOrder(task.seed, len(tools.source))
        if tools.cache is not None:
            drop_older(tools.cache, tools.manifest, bank)
        self._stream = self._texts_of(tools)
        self.fill = Fill()
        self._values: dict[str, Array] = carry.start(bank, self.slots)
        self._rates = self._learning_rates()
        self._held_rows = self._frozen_shared_rows()
        everyone = (len(bank.shape.layers), bank.shape.experts)
        self._routed = np.zeros(everyone, np.float64)  # [L, M]: by expert, because tiers hold different ones
        self._seen = np.zeros(everyone, np.float64)
        self.losses: list[float] = []
        self._times: list[float] = []
        self._here = Stretch()

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
        began, trunk = self._clock(), self._stream.reader.trunk
        before = trunk.times.ms if trunk is not None else 0.0
        texts = self._next_texts()
        inputs = self._with_values(texts.inputs)
        outputs = run_step(self._program.execute, self._manifest, self.tier, inputs)
        self._values |= {name: outputs[name] for name in self._values if name in outputs}
        for row in self._held_rows:
            self._values[ports.SHARED][row - self._below] = self._bank.shared[row]
        self._add(self._routed, outputs[ports.USAGE].astype(np.float64) * texts.tokens)
        self._add(self._seen, np.full(self.slots.held.shape, float(texts.tokens)))
        self.fill += Fill(1, texts.texts, texts.tokens, self.tier.places)
        self.losses.append(float(outputs[ports.LOSS][0]))
        self._times.append((self._clock() - began) * 1000)
        self._here.add(self._times[-1] - (trunk.times.ms - before if trunk is not None else 0.0), texts.texts)
        return self.losses[-1]

    @property
    def pace(self) -> Pace | None:
        """How fast this process stepped in the tier at hand; None before it did."""
        trunk = self._stream.reader.trunk
        return self._here.pace(trunk.times.text_ms if trunk is not None else 0.0)

    @property
    def _below(self) -> int:
        """Adapted layers below those that the tier trains."""
        return len(self._bank.shape.layers) - self.tier.layers

    def step_inputs(self) -> dict[str, npt.NDArray[Any]]:
        """Return the inputs of the next step by name."""
        return self._with_values(self._next_texts().inputs)

    def _with_values(self, texts: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        inputs = {**self._values, **texts}
        inputs |= {
            ports.GATE_SCALE: self.slots.gate_scale,
            ports.UPDATE_MASK: self.slots.update_mask,
            ports.HYPER: self._hyper(),
        }
        if self._architecture.gate == "topk":
            inputs |= self._balance()
        return inputs

    @property
    def last_ms(self) -> float:
        """Milliseconds of the last step; 0 before the first."""
        return self._times[-1] if self._times else 0.0

    def switch(self, tier: Tier) -> None:
        """Go on in another tier; what was learned is carried over to the bit.

        Raises:
            PlanError: when the task needs more slots or layers than it has, or its batches are others; nothing is
                changed then.
        """
        if tier.batch_size != self.tier.batch_size:
            raise PlanError(
                f"{tier.method} takes {tier.batch_size} texts a step, {self.tier.method} the same task's"
                f" {self.tier.batch_size}"
            )
        slots = placement.place(self._task.train, self._architecture, tier)
        self._values = carry.carry(carry.learned(self._values, self.need), self._bank, slots, self.need)
        for method in sorted(_methods(self.tier) - _methods(tier)):
            self._program.unload(method)  # before the next is loaded: there may be no room for both
        self._stream = self._texts_of(replace(self._tools, tier=tier))
        self.slots, self.tier = slots, tier
        self._held_rows, self._here = self._frozen_shared_rows(), Stretch()

    def checkpoint(self) -> Checkpoint:
        """Return all that is needed to go on later, in this tier or in any that has room for the task."""
        kept = carry.learned(self._values, self.need)
        # float64 sums in two float32 halves: what came back must equal what was kept.
        for name, sums in (("routed", self._routed), ("seen", self._seen)):
            high = sums.astype(np.float32)
            kept |= {name: high, f"{name}_rest": (sums - high).astype(np.float32)}
        told = {"losses": list(self.losses), "step_ms": list(self._times)}
        return Checkpoint(
            kept, {**told, "taken": self.fill.texts, "tokens": self.fill.tokens, "places": self.fill.places}
        )

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint of the same task, made in whatever tier.

        Raises:
            DamagedError: when it is of another task or program; nothing is changed then.
        """
        wanted = {name: value.shape for name, value in self.checkpoint().tensors.items()}
        saved_shapes = {name: value.shape for name, value in saved.tensors.items()}
        if saved_shapes != wanted or "taken" not in saved.numbers:
            raise DamagedError("the checkpoint belongs to another task or program; the round starts again")
        self._routed, self._seen = (
            saved.tensors[name].astype(np.float64) + saved.tensors[f"{name}_rest"] for name in ("routed", "seen")
        )
        sums = ("routed", "routed_rest", "seen", "seen_rest")
        kept = {name: value for name, value in saved.tensors.items() if name not in sums}
        self._values = carry.carry(kept, self._bank, self.slots, self.need)
        self.losses = [float(loss) for loss in saved.numbers["losses"]]
        self._times = [float(ms) for ms in saved.numbers["step_ms"]]
        self.fill = Fill(self.steps, *(int(saved.numbers[name]) for name in ("taken", "tokens", "places")))

    def outcome(self) -> Outcome:
        """Return what the steps made so far gave (at least one)."""
        rows = self._trained_rows()
        shape = self._bank.shape
        return Outcome(
            placement.blocks(self._task.train, shape, self.slots, self._values),
            len(rows),
            label_counts(self._tools.source, rows, shape.labels),
            tuple(self.losses),
            float(np.median(self._times)),
            self._of_held(self._routed).astype(np.float32),
            self._of_held(self._seen).astype(np.float32),
            self.fill,
        )

    def _add(self, sums: Sums, values: Sums) -> None:
        """Add what slots [k, H] counted to the sums [L, M] of their experts."""
        sums[self._rows, self.slots.held] += values

    def _of_held(self, sums: Sums) -> Sums:
        """Return the sums [k, H] of the experts in the slots, of all [L, M]."""
        return sums[self._rows, self.slots.held]

    @property
    def _rows(self) -> npt.NDArray[np.int64]:
        """Rows of a bank [k, 1] that the tier trains."""
        return np.arange(self._below, len(self._bank.shape.layers), dtype=np.int64)[:, None]

    def _trained_rows(self) -> npt.NDArray[np.int64]:
        count = len(self._tools.source)
        if self.fill.texts >= count:
            return np.arange(count, dtype=np.int64)
        return np.array([self._order.row(entry) for entry in range(self.fill.texts)], np.int64)

    def _texts_of(self, tools: Tools) -> TextStream:
        reader = tools.reader(self._bank)
        own = isinstance(tools.source, WindowSource)  # windows are all of a length: one call of the trunk is enough
        ahead = 0 if reader.trunk is None else reader.trunk.rows if own else READ_AHEAD
        return TextStream(reader, self._order, tier_capacity(tools.tier), ahead)

    def _next_texts(self) -> Step:
        return self._stream.step(self.fill.texts, self._task.steps - self.steps)

    def _learning_rates(self) -> tuple[float, float, float]:
        """Rates of experts, shared experts, head; 0 keeps what the task does not train bit for bit."""
        task = self._task
        shared = task.shared_learning_rate if any(block.shared for block in task.train) else 0.0
        return task.learning_rate, shared, task.head_learning_rate if HEAD in task.train else 0.0

    def _frozen_shared_rows(self) -> list[int]:
        """Rows of the bank's shared experts that must not move although others do: the program has one rate for all."""
        moving = {block.layer for block in self._task.train if block.shared}
        if not moving or not self._bank.shared.size:
            return []
        layers = self._bank.shape.layers
        return [row for row in range(self._below, len(layers)) if layers[row] not in moving]

    def _hyper(self) -> Array:
        first, last = self._task.decay
        factor = first + (last - first) * self.steps / self._task.steps
        experts, shared, head = (rate * factor for rate in self._rates)
        numbers = ports.hyper_values(
            self.steps + 1,
            experts,
            head_learning_rate=head,
            shared_learning_rate=shared,
            weight_decay=self._task.weight_decay,
        )
        return np.array(numbers, np.float32)

    def _balance(self) -> dict[str, Array]:
        held, experts = self.slots.held.shape[1], self._bank.shape.experts
        target = np.full(self.slots.held.shape, 1 / held, np.float32)
        weight = np.zeros(len(target), np.float32)
        for row, layer in enumerate(self.slots.layers(self._bank.shape)):
            use = self._task.use.get(layer)
            if use is None or len(use) != experts:
                continue
            mine = use[self.slots.held[row]]
            target[row] = balance_target(mine, float(use.mean()))
            mixed = self._routed[self._below + row, self.slots.held[row]].astype(np.float32)
            unlike = divergence(mixed, mine)
            weight[row] = balance_weight(self._task.pressure, unlike, held, experts)
        return {ports.BALANCE_TARGET: target, ports.BALANCE_WEIGHT: weight}


def _methods(tier: Tier) -> set[str]:
    """Return the names of a tier's methods."""
    return {tier.method, tier.apply_method, *tier.trunk_methods} - {""}
