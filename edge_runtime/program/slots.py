"""Which expert sits in which slot of a program, and back: what a plan's blocks are to a method's tensors.

Axes: L adapted layers, M experts, m trained slots, f frozen slots, H = m + f, P values of an expert.
A sum over experts knows no order, so any subset fits into any slots: trained first, frozen after. A trained slot that
the plan leaves free holds another expert with an update mask of 0, so that the model still runs whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import PlanError
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, MEAN, BankShape, ExpertId
from edge_runtime.wire.manifest import Architecture, Tier
from edge_runtime.wire.tensors import Array

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Slots:
    """One placement.

    Args:
        tier: the program's size.
        held: [L, H] index of the expert in each slot.
        update_mask: float32 [L, m], 1 where the plan trains the slot.
        gate_scale: float32 [L, H].
    """

    tier: Tier
    held: Indices
    update_mask: Array
    gate_scale: Array


def needed_slots(train: Iterable[ExpertId]) -> int:
    """Return the trained slots that ``train`` needs: the most experts of one layer."""
    counts: dict[int, int] = {}
    for block in train:
        if not block.shared and block not in (HEAD, MEAN):
            counts[block.layer] = counts.get(block.layer, 0) + 1
    return max(counts.values(), default=0)


def place(train: Iterable[ExpertId], architecture: Architecture, tier: Tier) -> Slots:
    """Give every planned expert a trained slot, then fill the other slots with the experts that follow them.

    With soft gates and H < M, each gate is scaled by M/H, so that the sum over the held has the size of the sum over
    all (docs/algorithm.md, "Experts"); a softmax over the held needs no scale.

    Raises:
        PlanError: for a block that the bank lacks, or more experts at a layer than trained slots.
    """
    shape = architecture.bank_shape
    planned = sorted(set(train))
    for block in planned:
        _known(block, shape)
    needed = needed_slots(planned)
    if needed > tier.trained_slots:
        msg = f"the plan trains {needed} experts at a layer, the program {tier.method} has {tier.trained_slots} slots"
        raise PlanError(msg)
    rows, masks = [], []
    for layer in shape.layers:
        chosen = [block.index for block in planned if block.layer == layer and not block.shared]
        rows.append(_row(chosen, shape.experts, tier.held_slots))
        masks.append([1.0] * len(chosen) + [0.0] * (tier.trained_slots - len(chosen)))
    scale = 1.0 if architecture.gate == "topk" else shape.experts / tier.held_slots
    return Slots(
        tier,
        np.array(rows, np.int64),
        np.array(masks, np.float32),
        np.full((len(rows), tier.held_slots), scale, np.float32),
    )


def _known(block: ExpertId, shape: BankShape) -> None:
    if block != MEAN and block in shape.ids():
        return
    msg = f"the plan trains {block}, which this package cannot train ({shape.experts} experts, layers {shape.layers})"
    raise PlanError(msg)


def _row(chosen: list[int], experts: int, held: int) -> list[int]:
    """Chosen experts, then those that follow the last of them, round the ring: so the company changes with the plan."""
    start = chosen[-1] + 1 if chosen else 0
    others = [(start + step) % experts for step in range(experts)]
    return (chosen + [index for index in others if index not in chosen])[:held]


def inputs(bank: Bank, slots: Slots) -> dict[str, Array]:
    """Return the bank's tensors as a training method takes them: trained, frozen, shared, head, mean; copies.

    Frozen, shared, head and mean only where the program has them.
    """
    held = bank.experts[np.arange(len(slots.held))[:, None], slots.held]  # [L, H, P]
    cut = slots.tier.trained_slots
    tensors = {ports.TRAINED: np.ascontiguousarray(held[:, :cut])}
    if bank.shape.labels:
        tensors |= {ports.HEAD: bank.head.copy(), ports.MEAN: bank.mean.copy()}
    if held.shape[1] > cut:
        tensors[ports.FROZEN] = np.ascontiguousarray(held[:, cut:])
    if bank.shared.size:
        tensors[ports.SHARED] = bank.shared.copy()
    return tensors


def blocks(
    train: Iterable[ExpertId], shape: BankShape, slots: Slots, values: Mapping[str, Array]
) -> dict[ExpertId, Array]:
    """Return the values of the planned blocks after training.

    Args:
        train: the plan's blocks.
        shape: of the bank.
        slots: where they sat.
        values: the method's outputs: trained [L, m, P], shared [L, Ps] where there is one, head [C * (d + 1)].
    """
    trained: dict[ExpertId, Array] = {}
    for block in sorted(set(train)):
        if block == HEAD:
            trained[block] = values[ports.HEAD]
            continue
        row = shape.layers.index(block.layer)
        if block.shared:
            trained[block] = values[ports.SHARED][row]
        else:
            trained[block] = values[ports.TRAINED][row, int(np.flatnonzero(slots.held[row] == block.index)[0])]
    return trained


def predict_inputs(bank: Bank, architecture: Architecture, held: int) -> dict[str, Array]:
    """Return a bank as the inference method takes it: experts [L, H, P], gate_scale [L, H], shared, head, mean.

    The last three only where the program has them.
    """
    experts = bank.experts[:, :held]
    scale = 1.0 if architecture.gate == "topk" else bank.shape.experts / held
    tensors = {
        ports.EXPERTS: np.ascontiguousarray(experts),
        ports.GATE_SCALE: np.full(experts.shape[:2], scale, np.float32),
    }
    if bank.shape.labels:
        tensors |= {ports.HEAD: bank.head, ports.MEAN: bank.mean}
    if bank.shared.size:
        tensors[ports.SHARED] = bank.shared
    return tensors
