"""Budgets, trained slots and coverage -> one plan for each device. Pure.

Rotating coverage: at each layer a device takes the experts with the fewest trainers in this round, then the fewest over
all rounds (so what a device did not deliver comes first next time), then those that it trained least itself. Taking
the least loaded first keeps the trainers of all experts of a layer within one of each other, whatever the budgets.

How many layers, from the top, and how many steps follow from a device's time: the deepest of its reaches in which
enough steps fit, else the shallowest, where steps are cheapest. So who is slow trains the top layers with many steps,
who is fast trains all of them, and nobody is waited for. docs/algorithm.md, "Plans by depth".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId, shared_expert
from edge_runtime.wire.tensors import encoded_size

BLOCK_OVERHEAD = 24
DELTA_OVERHEAD = 512
CHUNK_OVERHEAD = 0.01
TIME_SHARE = 0.8
"""Share of a device's seconds for training; the rest is for download, upload and the first step."""


@dataclass(frozen=True)
class Reach:
    """How deep a device can train, and what that takes.

    Args:
        layers: adapted layers, from the top.
        step_ms: one optimizer step with the prefixes of its texts at hand; 0: not measured.
        trunk_ms: what a step takes more while they are not, that is in its first epoch.
    """

    layers: int
    step_ms: float = 0.0
    trunk_ms: float = 0.0

    def steps(self, ms: float, epoch: int) -> int:
        """Return how many steps fit in a time. Args: ms: milliseconds; epoch: steps in which prefixes are new."""
        if not self.step_ms:
            return 0
        first = int(ms / (self.step_ms + self.trunk_ms))
        return first if first <= epoch else epoch + int((ms - epoch * (self.step_ms + self.trunk_ms)) / self.step_ms)


def measured(reaches: Sequence[Reach], step_ms: Mapping[int, float]) -> list[Reach]:
    """Return reaches with what deltas told since: a depth that was not trained is as much slower as the others were.

    Args:
        reaches: as a device's last Hello told them.
        step_ms: of its deltas, by depth; 0: not measured.
    """
    ratios = [step_ms[one.layers] / one.step_ms for one in reaches if step_ms.get(one.layers) and one.step_ms]
    factor = sum(ratios) / len(ratios) if ratios else 1.0
    return [
        replace(one, step_ms=step_ms.get(one.layers) or one.step_ms * factor, trunk_ms=one.trunk_ms * factor)
        for one in reaches
    ]


@dataclass(frozen=True)
class Budget:
    """What a device said it can do; 0 means no limit or not measured.

    Args:
        device: its name.
        trained_slots: m, in each layer.
        bytes_up: for a round.
        bytes_down: for a round.
        seconds: for a round.
        step_ms: one optimizer step through all adapted layers, as measured on the device.
        codecs: that it can write.
        reaches: the depths that it can train; none: all adapted layers, at ``step_ms``.
        examples: that it has.
        batch: texts of a step at most.
    """

    device: str
    trained_slots: int
    bytes_up: int = 0
    bytes_down: int = 0
    seconds: float = 0.0
    step_ms: float = 0.0
    codecs: tuple[int, ...] = (pb.FLOAT32,)
    reaches: tuple[Reach, ...] = ()
    examples: int = 0
    batch: int = 16

    @property
    def epoch(self) -> int:
        """Steps in which a device sees each of its texts once; later ones find prefixes in its cache."""
        return math.ceil(self.examples / max(1, self.batch))


@dataclass(frozen=True)
class RoundRequest:
    """What the operator wants of a round.

    Args:
        steps: optimizer steps for each device; at most, where its time is short.
        codec: pb.FLOAT32 or pb.INT8; None chooses float32, and int8 where float32 does not fit the budget.
        train_head: whether devices train the head.
        train_shared: whether devices train the shared experts.
        seconds: that every device trains in a round, in as many steps as fit, ``most_steps`` at most; 0: ``steps``
            steps, whatever they take.
        most_steps: of a device that has time left.
        enough_steps: a device trains a depth only where its time has room for so many steps.
        depth: layers from the top that anybody trains at most; 0: all.
        most_epochs: passes over its own examples that a device with time left makes in a round at most; 0: any number.
        only: blocks that may be trained; None: all.
    """

    steps: int = 10
    codec: int | None = None
    train_head: bool = False
    train_shared: bool = True
    seconds: float = 0.0
    most_steps: int = 90
    enough_steps: int = 20
    depth: int = 0
    most_epochs: float = 0.0
    only: frozenset[ExpertId] | None = None

    def allows(self, block: ExpertId) -> bool:
        """Return whether a block may be trained."""
        return self.only is None or block in self.only

    def most(self, budget: Budget) -> int:
        """Return how many steps a device makes at most, however much time it has."""
        if not self.seconds:
            return self.steps
        if not self.most_epochs or not budget.examples:
            return self.most_steps
        passes = self.most_epochs * budget.examples / max(1, budget.batch)
        return max(1, min(self.most_steps, math.ceil(passes)))


@dataclass(frozen=True)
class Coverage:
    """Trainings so far that are in the bank.

    Args:
        total: for each expert.
        own: for each (device, expert).
        distrusted: devices whose training is not merged: they get plans like all, and leave no expert to be trained by
            them alone.
    """

    total: Mapping[ExpertId, int] = field(default_factory=dict)
    own: Mapping[tuple[str, ExpertId], int] = field(default_factory=dict)
    distrusted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Assignment:
    """One device's part.

    Args:
        train: ascending blocks.
        steps: optimizer steps.
        codec: of its delta.
        bytes_up: estimate of its delta.
        layers: adapted layers, from the top, of which it trains experts.
    """

    train: tuple[ExpertId, ...]
    steps: int
    codec: int
    bytes_up: int
    layers: int = 0


def plan_round(
    budgets: Iterable[Budget], shape: BankShape, number: int, coverage: Coverage, request: RoundRequest
) -> dict[str, Assignment]:
    """Return the work of each device; a device whose budget fits no block, or whose downlink must rest, is left out."""
    queue = sorted(budgets, key=lambda budget: budget.device)
    if not queue:
        return {}
    shift = number % len(queue)  # who chooses first rotates, because who chooses last is left with the rest
    load: dict[ExpertId, int] = {}
    plans: dict[str, Assignment] = {}
    for rank, budget in enumerate(queue[shift:] + queue[:shift]):
        if not _downlink_ready(budget, shape, number, rank):
            continue
        reach, steps = _depth(budget, shape, request)
        layers = shape.layers[len(shape.layers) - reach.layers :]
        fitted = _fit(budget, shape, layers, request)
        if fitted is None:
            continue
        codec, blocks, always = fitted
        train = list(always)
        for place, layer in enumerate(layers):
            # A budget that is no multiple of the layers gives some layers one expert more; which ones rotates.
            turn = (place + number + rank) % len(layers)
            count = min(shape.experts, blocks // len(layers) + (turn < blocks % len(layers)))
            order = _order(budget.device, number * 3 + rank + place, shape.experts, load, coverage)
            allowed = filter(request.allows, (ExpertId(layer, index) for index in range(shape.experts)))
            train += sorted(allowed, key=order)[:count]
        if not train:
            continue
        for block in train if budget.device not in coverage.distrusted else ():
            load[block] = load.get(block, 0) + 1
        plans[budget.device] = Assignment(
            tuple(sorted(train)), steps, codec, delta_bytes(shape, train, codec), reach.layers
        )
    return plans


def _order(
    device: str, offset: int, experts: int, load: Mapping[ExpertId, int], coverage: Coverage
) -> Callable[[ExpertId], tuple[int, int, int, int]]:
    """Return the key that puts the most wanted expert first; ties go by a turn that differs by round, device, layer."""

    def order(block: ExpertId) -> tuple[int, int, int, int]:
        own = coverage.own.get((device, block), 0)
        return load.get(block, 0), coverage.total.get(block, 0), own, (block.index - offset) % experts

    return order


def learning_rate(start: float, number: int, rounds: int, final_share: float) -> float:
    """Return the rate of round ``number`` (from 1): a straight line from ``start`` down to ``final_share`` of it."""
    done = min(1.0, (number - 1) / max(1, rounds - 1))
    return start * (1.0 - (1.0 - final_share) * done)


def delta_bytes(shape: BankShape, train: Iterable[ExpertId], codec: int) -> int:
    """Return about how many bytes a delta of these blocks sends, chunk headers included."""
    size = sum(block_bytes(shape.size(block), codec) for block in train) + DELTA_OVERHEAD
    return math.ceil(size * (1 + CHUNK_OVERHEAD))


def block_bytes(values: int, codec: int) -> int:
    """Return the bytes of one block inside a delta."""
    return encoded_size(values, codec) + BLOCK_OVERHEAD


def _fit(
    budget: Budget, shape: BankShape, layers: Sequence[int], request: RoundRequest
) -> tuple[int, int, list[ExpertId]] | None:
    """Return (codec, expert blocks over ``layers``, blocks that are always trained), the largest that fits."""
    codecs = [request.codec] if request.codec is not None else [pb.FLOAT32, pb.INT8]
    able = [codec for codec in codecs if codec in (*budget.codecs, pb.FLOAT32)] or [pb.FLOAT32]
    wanted = min(budget.trained_slots, shape.experts) * len(layers)
    shared = [shared_expert(layer) for layer in layers] if shape.shared_rank and request.train_shared else []
    shared = list(filter(request.allows, shared))
    always = shared + ([HEAD] if request.train_head and shape.labels else [])
    best: tuple[int, int, list[ExpertId]] | None = None
    for extra in (always, []):
        for codec in able:
            blocks = min(wanted, _room(budget, shape, codec, extra))
            if blocks >= 1 and (best is None or blocks > best[1]):
                best = (codec, blocks, extra)
        if best is not None:
            return best
    return None


def _room(budget: Budget, shape: BankShape, codec: int, always: list[ExpertId]) -> int:
    if not budget.bytes_up:
        return shape.experts * len(shape.layers)
    left = budget.bytes_up / (1 + CHUNK_OVERHEAD) - DELTA_OVERHEAD
    left -= sum(block_bytes(shape.size(block), codec) for block in always)
    return max(0, int(left // block_bytes(shape.expert_size, codec)))


def _depth(budget: Budget, shape: BankShape, request: RoundRequest) -> tuple[Reach, int]:
    """Return how deep a device trains, and in how many steps."""
    reaches = _reaches(budget, len(shape.layers), request.depth)
    seconds = [share for share in (budget.seconds * TIME_SHARE, request.seconds) if share]
    if not seconds or not all(reach.step_ms for reach in reaches):
        return reaches[0], request.steps
    most = request.most(budget)
    fitting = [(reach, min(most, reach.steps(1000 * min(seconds), budget.epoch))) for reach in reaches]
    enough = min(request.enough_steps, most)
    reach, steps = next((pair for pair in fitting if pair[1] >= enough), fitting[-1])
    return reach, max(1, steps)


def _reaches(budget: Budget, layers: int, depth: int) -> list[Reach]:
    """Return a device's reaches, deepest first; never none."""
    told = [reach for reach in budget.reaches if 1 <= reach.layers <= layers] or [Reach(layers, budget.step_ms)]
    allowed = [reach for reach in told if not depth or reach.layers <= depth]
    # In a round for the top layers alone, who has no tier for them trains them in the shallowest that it has.
    least = min(told, key=lambda reach: reach.layers)
    allowed = allowed or [replace(least, layers=depth)]
    return sorted(allowed, key=lambda reach: -reach.layers)


def _downlink_ready(budget: Budget, shape: BankShape, number: int, rank: int) -> bool:
    """Return whether the device may download a bank in this round: one that may not do so each round rests between."""
    if not budget.bytes_down:
        return True
    bank = sum(4 * shape.size(block) for block in shape.ids())
    period = max(1, math.ceil(bank / budget.bytes_down))
    return (number + rank) % period == 0
