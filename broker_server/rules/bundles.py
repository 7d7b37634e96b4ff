"""Plans of rounds whose deltas are summed under masks: every expert that is trained has enough trainers. Pure.

Experts go out in *bundles*, the same index in every adapted layer, so that the trainers of a bundle are one circle (the
devices that train the same blocks): one set of masks and shares in place of one for each layer. As many bundles run in
a round as have enough trainers each; those that were trained least run first. Shared experts and head are trained by
all. Axes: M experts of a layer, m bundles that a device has room for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from broker_server.rules.planner import Assignment, Budget, Coverage, RoundRequest
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId, shared_expert
from edge_runtime.wire.limits import CIRCLES_LIMIT
from edge_runtime.wire.secure.ring import Ring

_OVERHEAD = 1.02
"""Of bytes: the framing of messages and chunks."""


def plan_bundles(
    budgets: Iterable[Budget], shape: BankShape, number: int, coverage: Coverage, request: RoundRequest,
    *, least: int, bits: int,
) -> dict[str, Assignment]:  # fmt: skip
    """Return the work of each device; none where fewer than ``least`` have room for a bundle.

    Args:
        budgets: of devices; who has no room for one bundle and what all train is left out.
        shape: of the bank.
        number: of the round: who and what comes first rotates.
        coverage: trainings so far.
        request: what the operator wants; all make the same steps, through all layers.
        least: trainers that every expert has at least.
        bits: of a value under masks.
    """
    rooms = {budget.device: _room(budget, shape, request, bits) for budget in budgets}
    queue = sorted(device for device, room in rooms.items() if room)
    running = _running([rooms[device] for device in queue], shape.experts, least)
    if not running:
        return {}
    chosen = sorted(
        range(shape.experts), key=lambda index: (_trained(index, shape, coverage), (index - number) % shape.experts)
    )
    load = dict.fromkeys(chosen[:running], 0)
    shift = number % len(queue)
    plans = {}
    for device in queue[shift:] + queue[:shift]:
        # The least loaded first: so the trainers of all bundles stay within one of each other.
        order = sorted(load, key=lambda index: (load[index], _own(index, shape, coverage, device), index))
        bundles = order[: rooms[device]]
        for index in bundles:
            load[index] += 1
        train = [*_always(shape, request), *(block for index in bundles for block in bundle(shape, index))]
        size = masked_bytes(shape, train, bits)
        plans[device] = Assignment(tuple(sorted(train)), request.steps, pb.FLOAT32, size, len(shape.layers))
    return plans


def bundle(shape: BankShape, index: int) -> list[ExpertId]:
    """Return the experts of a bundle."""
    return [ExpertId(layer, index) for layer in shape.layers]


def circles(assignments: Mapping[str, Assignment]) -> dict[frozenset[str], tuple[ExpertId, ...]]:
    """Return the blocks that the same devices train, ascending, by these devices; first the one of the lowest block."""
    trainers: dict[ExpertId, set[str]] = {}
    for device, assignment in assignments.items():
        for block in assignment.train:
            trainers.setdefault(block, set()).add(device)
    blocks: dict[frozenset[str], list[ExpertId]] = {}
    for block in sorted(trainers):
        blocks.setdefault(frozenset(trainers[block]), []).append(block)
    return {devices: tuple(listed) for devices, listed in blocks.items()}


def masked_bytes(shape: BankShape, train: Iterable[ExpertId], bits: int) -> int:
    """Return about how many bytes a device sends for blocks under masks: values, and a weight each (a head: C)."""
    values = sum(shape.size(block) + (shape.labels if block == HEAD else 1) for block in train)
    return int(Ring(bits).size(values) * _OVERHEAD)


def _running(rooms: Sequence[int], experts: int, least: int) -> int:
    """Return the most bundles that have ``least`` trainers each; 0 where not even one has."""
    fits = [count for count in range(1, experts + 1) if sum(min(room, count) for room in rooms) >= least * count]
    return max(fits, default=0)


def _always(shape: BankShape, request: RoundRequest) -> list[ExpertId]:
    shared = [shared_expert(layer) for layer in shape.layers] if shape.shared_rank and request.train_shared else []
    return shared + ([HEAD] if request.train_head and shape.labels else [])


def _room(budget: Budget, shape: BankShape, request: RoundRequest, bits: int) -> int:
    """Return m of a device: its slots, and no more than its uplink has room for."""
    slots = min(
        budget.trained_slots, shape.experts, CIRCLES_LIMIT - 2
    )  # two more are of what all train, and of class sums
    if not budget.bytes_up:
        return slots
    left = budget.bytes_up - masked_bytes(shape, _always(shape, request), bits)
    return max(0, min(slots, left // masked_bytes(shape, bundle(shape, 0), bits)))


def _trained(index: int, shape: BankShape, coverage: Coverage) -> int:
    return sum(coverage.total.get(block, 0) for block in bundle(shape, index))


def _own(index: int, shape: BankShape, coverage: Coverage, device: str) -> int:
    return sum(coverage.own.get((device, block), 0) for block in bundle(shape, index))
