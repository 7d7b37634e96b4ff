"""Experts into slots and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy

from edge_runtime.errors import PlanError
from edge_runtime.program import slots
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, MEAN, ExpertId, shared_expert
from edge_runtime.wire.manifest import Architecture

M4, M2, M1 = toy.TIERS


@pytest.fixture
def architecture(tmp_path: Path) -> Architecture:
    """The toy package's."""
    return toy.write_package(tmp_path / "package").manifest.architecture


def numbered() -> Bank:
    """Every value of block (layer row, index) is 10 * row + index; head 50; mean 60; shared 70 + row."""
    bank = Bank.zeros(toy.SHAPE)
    for row in range(2):
        bank.shared[row] = 70 + row
        for index in range(4):
            bank.experts[row, index] = 10 * row + index
    bank.head[:], bank.mean[:] = 50, 60
    return bank


def test_planned_experts_come_first_and_the_ring_fills_the_rest(architecture: Architecture) -> None:
    """Layer 1 trains 2; layer 3 trains 0 and 3: each row starts with them, then whoever follows."""
    placed = slots.place([ExpertId(1, 2), ExpertId(3, 3), ExpertId(3, 0)], architecture, M2)
    assert placed.held.tolist() == [[2, 3, 0, 1], [0, 3, 1, 2]]
    assert placed.update_mask.tolist() == [[1, 0], [1, 1]]
    assert (placed.gate_scale == 1).all()


def test_holding_a_part_scales_soft_gates_to_the_whole(architecture: Architecture) -> None:
    """Two of four experts held: each gate counts twice."""
    placed = slots.place([ExpertId(1, 1), ExpertId(3, 1)], architecture, M1)
    assert placed.held.tolist() == [[1, 2], [1, 2]]
    assert (placed.gate_scale == 2).all()


def test_a_softmax_over_the_held_needs_no_scale(tmp_path: Path) -> None:
    """The top-k mode renormalizes by itself."""
    topk = toy.write_package(tmp_path / "package", gate="topk", top_k=2).manifest.architecture
    assert (slots.place([ExpertId(1, 1)], topk, M1).gate_scale == 1).all()


def test_bank_to_slots_and_back(architecture: Architecture) -> None:
    """The tensors hold the experts that the placement names, and blocks come back under their own ids."""
    bank = numbered()
    train = [ExpertId(1, 3), ExpertId(3, 0), shared_expert(3), HEAD]
    placed = slots.place(train, architecture, M2)
    inputs = slots.inputs(bank, placed)
    assert inputs["trained"].shape == (2, 2, toy.SHAPE.expert_size)
    assert inputs["trained"][:, :, 0].tolist() == [[3, 0], [10, 11]]
    assert inputs["frozen"][:, :, 0].tolist() == [[1, 2], [12, 13]]
    changed = {name: value + 1 for name, value in inputs.items()}
    blocks = slots.blocks(train, toy.SHAPE, placed, changed)
    assert {str(block): float(values[0]) for block, values in blocks.items()} == {
        "1.3": 4, "3.0": 11, "3.shared": 72, "head": 51,
    }  # fmt: skip
    assert bank.experts[0, 3, 0] == 3, "the bank itself is not touched"


def test_a_plan_that_does_not_fit_is_refused_with_numbers(architecture: Architecture) -> None:
    """Too many experts for the slots, and blocks that cannot be trained."""
    with pytest.raises(PlanError, match="3 experts at a layer, the program train_m2_f2_s16_r2_b4 has 2"):
        slots.place([ExpertId(1, 0), ExpertId(1, 1), ExpertId(1, 2)], architecture, M2)
    for block in (ExpertId(2, 0), ExpertId(1, 4), MEAN):
        with pytest.raises(PlanError, match="cannot train"):
            slots.place([block], architecture, M4)


def test_a_plan_needs_slots_for_its_fullest_layer_and_layers_down_to_its_lowest_block() -> None:
    """Shared experts and the head take no slot; a shared expert goes down to its layer, the head to the top one."""

    def need(*train: ExpertId) -> slots.Need:
        return slots.need_of(train, toy.SHAPE)

    assert need(ExpertId(1, 0), ExpertId(3, 1), ExpertId(3, 2), shared_expert(3), HEAD) == slots.Need(2, 2)
    assert need(ExpertId(3, 1), HEAD) == slots.Need(1, 1)
    assert need(ExpertId(3, 1), shared_expert(1)) == slots.Need(1, 2)
    assert need(HEAD) == slots.Need(0, 1)


def test_a_tier_of_the_top_layer_has_its_rows_alone(architecture: Architecture) -> None:
    """The tensors have one row, of layer 3; every expert of layer 1 goes to the trunk; blocks come back as theirs."""
    bank, train = numbered(), [ExpertId(3, 2), shared_expert(3), HEAD]
    placed = slots.place(train, architecture, toy.TOP)
    assert (placed.held.tolist(), placed.update_mask.tolist()) == ([[2, 3, 0, 1]], [[1, 0]])
    assert placed.gate_scale.shape == (1, 4)
    assert placed.layers(toy.SHAPE) == (3,)
    inputs = slots.inputs(bank, placed)
    assert inputs["trained"][:, :, 0].tolist() == [[12, 13]]
    assert inputs["frozen"][:, :, 0].tolist() == [[10, 11]]
    assert inputs["shared"][:, 0].tolist() == [71]
    below = slots.lower(bank, 1)
    assert below["lower_experts"].shape == (1, 4, toy.SHAPE.expert_size)
    assert below["lower_experts"][0, :, 0].tolist() == [0, 1, 2, 3]
    assert below["lower_shared"][:, 0].tolist() == [70]
    assert slots.lower(bank, 2) == {}
    blocks = slots.blocks(train, toy.SHAPE, placed, {name: value + 1 for name, value in inputs.items()})
    assert {str(block): float(values[0]) for block, values in blocks.items()} == {
        "3.2": 13, "3.shared": 72, "head": 51,
    }  # fmt: skip
    with pytest.raises(PlanError, match="trains the top 2 layers, the program train_l1_m2_f2_s16_r2_b4 has 1 of them"):
        slots.place([ExpertId(1, 0)], architecture, toy.TOP)


def test_prediction_holds_the_first_experts(architecture: Architecture) -> None:
    """All four, or two with doubled gates."""
    whole = slots.predict_inputs(numbered(), architecture, 4)
    assert whole["experts"][1, :, 0].tolist() == [10, 11, 12, 13]
    part = slots.predict_inputs(numbered(), architecture, 2)
    assert part["experts"].shape[:2] == (2, 2)
    assert np.all(part["gate_scale"] == 2)
