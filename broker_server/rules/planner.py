"""Budgets, trained slots and coverage -> one plan for each device. Pure.

Rotating coverage: at each layer a device takes the experts with the fewest trainers in this round, then the fewest over
all rounds (so what a device did not deliver comes first next time), then those that it trained least itself. Taking
the least loaded first keeps the trainers of all experts of a layer within one of each other, whatever the budgets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId, shared_expert
from edge_runtime.wire.tensors import encoded_size

BLOCK_OVERHEAD = 24
DELTA_OVERHEAD = 512
CHUNK_OVERHEAD = 0.01
TIME_SHARE = 0.8
"""Share of a device's seconds for training; the rest is for download, upload and the first step."""


@dataclass(frozen=True)
class Budget:
    """What a device said it can do; 0 means no limit or not measured.

    Args:
        device: its name.
        trained_slots: m, in each layer.
        bytes_up: for a round.
        bytes_down: for a round.
        seconds: for a round.
        step_ms: one optimizer step, as measured on the device.
        codecs: that it can write.
    """

    device: str
    trained_slots: int
    bytes_up: int = 0
    bytes_down: int = 0
    seconds: float = 0.0
    step_ms: float = 0.0
    codecs: tuple[int, ...] = (pb.FLOAT32,)


@dataclass(frozen=True)
class RoundRequest:
    """What the operator wants of a round.

    Args:
        steps: optimizer steps for each device.
        codec: pb.FLOAT32 or pb.INT8; None chooses float32, and int8 where float32 does not fit the budget.
        train_head: whether devices train the head.
        train_shared: whether devices train the shared experts.
    """

    steps: int = 10
    codec: int | None = None
    train_head: bool = False
    train_shared: bool = True


@dataclass(frozen=True)
class Coverage:
    """Accepted trainings so far. Args: total: for each expert; own: for each (device, expert)."""

    total: Mapping[ExpertId, int] = field(default_factory=dict)
    own: Mapping[tuple[str, ExpertId], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Assignment:
    """One device's part. Args: train: ascending blocks; steps; codec; bytes_up: estimate of its delta."""

    train: tuple[ExpertId, ...]
    steps: int
    codec: int
    bytes_up: int


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
        fitted = _fit(budget, shape, request)
        if fitted is None:
            continue
        codec, blocks, always = fitted
        train = list(always)
        for place in range(len(shape.layers)):
            # A budget that is no multiple of the layers gives some layers one expert more; which ones rotates.
            turn = (place + number + rank) % len(shape.layers)
            count = min(shape.experts, blocks // len(shape.layers) + (turn < blocks % len(shape.layers)))
            order = _order(budget.device, number * 3 + rank + place, shape.experts, load, coverage)
            layer = shape.layers[place]
            train += sorted((ExpertId(layer, index) for index in range(shape.experts)), key=order)[:count]
        for block in train:
            load[block] = load.get(block, 0) + 1
        plans[budget.device] = Assignment(
            tuple(sorted(train)), _steps(budget, request), codec, delta_bytes(shape, train, codec)
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


def _fit(budget: Budget, shape: BankShape, request: RoundRequest) -> tuple[int, int, list[ExpertId]] | None:
    """Return (codec, expert blocks over all layers, blocks that are always trained), the largest that fits."""
    codecs = [request.codec] if request.codec is not None else [pb.FLOAT32, pb.INT8]
    able = [codec for codec in codecs if codec in (*budget.codecs, pb.FLOAT32)] or [pb.FLOAT32]
    wanted = min(budget.trained_slots, shape.experts) * len(shape.layers)
    shared = [shared_expert(layer) for layer in shape.layers] if shape.shared_rank and request.train_shared else []
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


def _steps(budget: Budget, request: RoundRequest) -> int:
    if not (budget.seconds and budget.step_ms):
        return request.steps
    return max(1, min(request.steps, int(budget.seconds * 1000 * TIME_SHARE / budget.step_ms)))


def _downlink_ready(budget: Budget, shape: BankShape, number: int, rank: int) -> bool:
    """Return whether the device may download a bank in this round: one that may not do so each round rests between."""
    if not budget.bytes_down:
        return True
    bank = sum(4 * shape.size(block) for block in shape.ids())
    period = max(1, math.ceil(bank / budget.bytes_down))
    return (number + rank) % period == 0
