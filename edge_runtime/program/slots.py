"""Which expert sits in which slot of a program, and back: what a plan's blocks are to a method's tensors.

Axes: L adapted layers, k of them that a tier trains (from the top), M experts, m trained slots, f frozen slots,
H = m + f, P values of an expert.
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
        held: [k, H] index of the expert in each slot.
        update_mask: float32 [k, m], 1 where the plan trains the slot.
        gate_scale: float32 [k, H].
    """

    tier: Tier
    held: Indices
    update_mask: Array
    gate_scale: Array

    def layers(self, shape: BankShape) -> tuple[int, ...]:
        """Return the numbers of the k layers, ascending."""
        return shape.layers[len(shape.layers) - len(self.held) :]


@dataclass(frozen=True)
class Need:
    """What a plan needs of a tier.

    Args:
        slots: n, trained ones, at its fullest layer.
        layers: adapted layers from the top down to its lowest block; 1 for the head alone.
    """

    slots: int
    layers: int


def need_of(train: Iterable[ExpertId], shape: BankShape) -> Need:
    """Return what the blocks of a plan need of a tier."""
    blocks, counts = list(train), dict[int, int]()
    for block in blocks:
        if not block.shared and block not in (HEAD, MEAN):
            counts[block.layer] = counts.get(block.layer, 0) + 1
    return Need(max(counts.values(), default=0), max(1, shape.depth(blocks)))


def place(train: Iterable[ExpertId], architecture: Architecture, tier: Tier) -> Slots:
    """Give every planned expert a trained slot, then fill the other slots with the experts that follow them.

    With soft gates and H < M, each gate is scaled by M/H, so that the sum over the held has the size of the sum over
    all (docs/algorithm.md, "Experts"); a softmax over the held needs no scale.

    Raises:
        PlanError: for a block that the bank lacks, or that lies below the tier's layers, or more experts at a layer
            than trained slots.
    """
    shape = architecture.bank_shape
    planned = sorted(set(train))
    for block in planned:
        _known(block, shape)
    need = need_of(planned, shape)
    if need.slots > tier.trained_slots:
        msg = (
            f"the plan trains {need.slots} experts at a layer, the program {tier.method} has {tier.trained_slots} slots"
        )
        raise PlanError(msg)
    if need.layers > tier.layers:
        msg = f"the plan trains the top {need.layers} layers, the program {tier.method} has {tier.layers} of them"
        raise PlanError(msg)
    rows, masks = [], []
    for layer in shape.layers[len(shape.layers) - tier.layers :]:
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
    below = len(bank.experts) - len(slots.held)
    held = bank.experts[below + np.arange(len(slots.held))[:, None], slots.held]  # [k, H, P]
    cut = slots.tier.trained_slots
    tensors = {ports.TRAINED: np.ascontiguousarray(held[:, :cut])}
    if bank.shape.labels:
        tensors |= {ports.HEAD: bank.head.copy(), ports.MEAN: bank.mean.copy()}
    if held.shape[1] > cut:
        tensors[ports.FROZEN] = np.ascontiguousarray(held[:, cut:])
    if bank.shared.size:
        tensors[ports.SHARED] = bank.shared[below:].copy()
    return tensors


def lower(bank: Bank, layers: int) -> dict[str, Array]:
    """Return what a trunk runs below the top ``layers``: every expert [L - k, M, P] and shared expert [L - k, Ps].

    Nothing where all layers are trained.
    """
    below = len(bank.experts) - layers
    if not below:
        return {}
    tensors = {ports.LOWER_EXPERTS: np.ascontiguousarray(bank.experts[:below])}
    if bank.shared.size:
        tensors[ports.LOWER_SHARED] = np.ascontiguousarray(bank.shared[:below])
    return tensors


def blocks(
    train: Iterable[ExpertId], shape: BankShape, slots: Slots, values: Mapping[str, Array]
) -> dict[ExpertId, Array]:
    """Return the values of the planned blocks after training.

    Args:
        train: the plan's blocks.
        shape: of the bank.
        slots: where they sat.
        values: the method's outputs: trained [k, m, P], shared [k, Ps] where there is one, head [C * (d + 1)].
    """
    layers = slots.layers(shape)
    trained: dict[ExpertId, Array] = {}
    for block in sorted(set(train)):
        if block == HEAD:
            trained[block] = values[ports.HEAD]
            continue
        row = layers.index(block.layer)
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
