"""Training without a federation, on this device's data alone: the same trainer, in one stretch or in rotating ones.

With rotation every stretch trains the next experts of the ring with fresh moments, as rounds of a federation do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edge_runtime.data.examples import EntryOrder, ExampleSource
from edge_runtime.data.packed import Packed
from edge_runtime.errors import ConfigError
from edge_runtime.inference.predictor import Predictor
from edge_runtime.program.slots import need_of
from edge_runtime.training.assessment import score
from edge_runtime.training.trainer import Task, Tools, Trainer
from edge_runtime.training.watch import Watch
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, ExpertId, shared_expert
from edge_runtime.wire.fill import Fill
from edge_runtime.wire.manifest import Architecture, Tier
from edge_runtime.wire.packing import Capacity

SEED_STRIDE = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Recipe:
    """How to train locally.

    Args:
        steps: in all.
        learning_rate: of experts at the first step; of shared experts and head the next two (0: not trained).
        final: factor on the rates after the last step, linear from 1.
        weight_decay: decoupled.
        experts: indices trained at every layer; more than the slots need rotation.
        rotate_every: steps of a stretch; 0: one stretch.
        seed: of the batch order.
    """

    steps: int
    learning_rate: float
    shared_learning_rate: float
    head_learning_rate: float
    final: float
    weight_decay: float
    experts: tuple[int, ...]
    rotate_every: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """What local training gave.

    Args:
        losses: one for each step.
        step_ms: median.
        moves: from tier to tier, and why.
        fill: how full the steps were.
    """

    bank: Bank
    losses: tuple[float, ...]
    step_ms: float
    moves: tuple[str, ...] = ()
    fill: Fill = field(default_factory=Fill)


def stretches(recipe: Recipe, architecture: Architecture, tier: Tier) -> Iterator[Task]:
    """Yield the tasks of a recipe, in order.

    Raises:
        ConfigError: for experts that the bank lacks, or more than the slots without rotation.
    """
    slots, chosen = tier.trained_slots, recipe.experts
    outside = [index for index in chosen if not 0 <= index < architecture.experts]
    if outside or not chosen:
        raise ConfigError(f"experts {outside or 'none'}: expected indices from 0 to {architecture.experts - 1}")
    if len(chosen) > slots and not recipe.rotate_every:
        raise ConfigError(
            f"{len(chosen)} experts for {slots} trained slots; name at most {slots}, or take turns: rotate_every"
        ).about("experts", "rotate_every")
    length = recipe.rotate_every or recipe.steps
    for number, start in enumerate(range(0, recipe.steps, length)):
        end = min(start + length, recipe.steps)
        ring = [chosen[(number * slots + place) % len(chosen)] for place in range(min(slots, len(chosen)))]
        yield Task(
            train=_blocks(sorted(set(ring)), recipe, architecture, tier.layers),
            steps=end - start,
            learning_rate=recipe.learning_rate,
            shared_learning_rate=recipe.shared_learning_rate,
            head_learning_rate=recipe.head_learning_rate,
            weight_decay=recipe.weight_decay,
            seed=_seed(recipe.seed, number),
            decay=(_factor(recipe, start), _factor(recipe, end)),
        )


def _seed(seed: int, number: int) -> int:
    """Return the seed of a stretch."""
    return (seed + number * SEED_STRIDE) % (1 << 64)


def steps_of_epochs(
    epochs: float, counts: Sequence[int], capacity: Capacity, *, seed: int, rotate_every: int = 0
) -> int:
    """Return the steps that take as many texts as ``epochs`` have, at least one.

    Args:
        epochs: passes over the data, 0.5 is half of one.
        counts: tokens of all N texts.
        capacity: of a step.
        seed: of the recipe; with the stretches it says which texts meet.
        rotate_every: of the recipe.
    """
    wanted, steps, taken = max(1, round(epochs * len(counts))), 0, 0
    for number in itertools.count():
        order, began = EntryOrder(_seed(seed, number), len(counts)), taken
        while not rotate_every or steps < (number + 1) * rotate_every:
            entries = range(taken - began, taken - began + capacity.batch)
            taken += len(Packed.next([counts[order.row(entry)] for entry in entries], capacity))
            steps += 1
            if taken >= wanted:
                return steps
    raise AssertionError  # a step takes a text, so they end


def _factor(recipe: Recipe, step: int) -> float:
    return 1.0 + (recipe.final - 1.0) * step / recipe.steps


def _blocks(experts: list[int], recipe: Recipe, architecture: Architecture, depth: int) -> tuple[ExpertId, ...]:
    layers = architecture.adapted_layers[len(architecture.adapted_layers) - depth :]
    blocks = [ExpertId(layer, index) for layer in layers for index in experts]
    if architecture.shared_rank and recipe.shared_learning_rate:
        blocks += [shared_expert(layer) for layer in layers]
    return tuple(sorted([*blocks, HEAD] if recipe.head_learning_rate else blocks))


def train(
    tools: Tools,
    bank: Bank,
    recipe: Recipe,
    told: Callable[[float], None],
    stopped: Callable[[], bool],
    *,
    watch: Watch | None = None,
) -> Trained:
    """Carry out a recipe; ``told`` gets each step's loss, and when ``stopped`` is true what was reached is returned.

    A watch chooses the tier, and may change it between two steps; without one it is that of the tools.
    """
    losses: list[float] = []
    times: list[float] = []
    moves: list[str] = []
    fill = Fill()
    for task in stretches(recipe, tools.manifest.architecture, tools.tier):
        tier = watch.begin(need_of(task.train, bank.shape)) if watch else tools.tier
        trainer = Trainer(replace(tools, tier=tier), bank, task)
        while not trainer.done and not stopped():
            moves += [moved] if watch and (moved := watch.look(trainer)) else []
            told(trainer.step())
            times.append(trainer.last_ms)
        if trainer.steps:
            bank = bank.replace(trainer.outcome().blocks)
            losses += trainer.losses
            fill += trainer.fill
        if stopped():
            break
    return Trained(bank, tuple(losses), float(np.median(times)) if times else 0.0, tuple(moves), fill)


def accuracy(predictor: Predictor, source: ExampleSource, progress: Callable[[int], None]) -> float:
    """Return the share of examples whose likeliest label is the given one, in [0, 1]."""
    return score(predictor, source, range(len(source)), progress).accuracy
