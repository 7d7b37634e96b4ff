"""The program's interface against what is written by hand: names, order, shapes, the numbers of ``hyper``."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, TensorSpec, method_spec

# P = 2 * (2 + 1) * 6 + 2 = 38, Ps = (2 * 1 + 1) * 6 + 1 = 19, head 3 * (6 + 1) = 21.
BANK = BankShape(layers=(1, 3), experts=4, rank=2, shared_rank=1, width=6, labels=3)
TRAIN = MethodShape(MethodKind.TRAIN, 2, 1, 8, 3, 4)


def _said(tensors: tuple[TensorSpec, ...]) -> str:
    return " ".join(f"{one.name}{list(one.shape)}".replace(", ", ",") for one in tensors)


def test_a_training_step_takes_and_gives_what_the_spec_lists() -> None:
    """Every tensor of a soft-gated step, in order."""
    spec = method_spec(ModelShape(BANK), TRAIN)
    moments = "trained_m1[2,2,38] trained_m2[2,2,38] shared_m1[2,19] shared_m2[2,19] head_m1[21] head_m2[21]"
    assert _said(spec.inputs) == (
        f"trained[2,2,38] frozen[2,1,38] shared[2,19] head[21] mean[6] {moments}"
        " gate_scale[2,3] update_mask[2,2] hyper[8] ids[3,8] positions[3,8] attend[3,8,8] mask[3,8]"
        " readout[4,24] labels[4,3]"
    )
    assert _said(spec.outputs) == (f"loss[1] logits[4,3] usage[2,3] trained[2,2,38] shared[2,19] head[21] {moments}")
    assert [one.name for one in spec.inputs if one.dtype != "float32"] == ["ids", "positions"]


def test_a_step_of_the_upper_layers_takes_their_rows_only() -> None:
    """Of two adapted layers the upper one is trained: one row of everything, and no ids."""
    spec = method_spec(ModelShape(BANK), replace(TRAIN, frozen=2, cut=True, layers=1))
    moments = "trained_m1[1,2,38] trained_m2[1,2,38] shared_m1[1,19] shared_m2[1,19] head_m1[21] head_m2[21]"
    assert _said(spec.inputs) == (
        f"trained[1,2,38] frozen[1,2,38] shared[1,19] head[21] mean[6] {moments}"
        " gate_scale[1,4] update_mask[1,2] hyper[8] prefix[3,8,6] residual[3,8,6] positions[3,8] attend[3,8,8]"
        " mask[3,8] readout[4,24] labels[4,3]"
    )
    assert _said(spec.outputs) == (f"loss[1] logits[4,3] usage[1,4] trained[1,2,38] shared[1,19] head[21] {moments}")


def test_a_trunk_below_fewer_layers_takes_the_experts_of_the_others() -> None:
    """All four experts of the lower layer, and its shared one."""
    spec = method_spec(ModelShape(BANK), MethodShape(MethodKind.TRUNK, 0, 0, 8, 5, 0, layers=1))
    lower = "lower_experts[1,4,38] lower_shared[1,19]"
    assert _said(spec.inputs) == f"{lower} ids[5,8] positions[5,8] attend[5,8,8]"
    assert _said(spec.outputs) == "prefix[5,8,6] residual[5,8,6]"


def test_names_of_methods_say_how_deep_they_train() -> None:
    """Where that is not all: names of the others are as they were."""
    kinds = MethodKind.ACCUMULATE, MethodKind.APPLY, MethodKind.TRUNK
    names = [replace(TRAIN, kind=kind, layers=1).name for kind in kinds]
    assert names == ["accumulate_l1_m2_f1_s8_r3_b4", "apply_l1_m2", "trunk_l1_s8_r3"]
    assert replace(TRAIN, kind=MethodKind.TRUNK).name == "trunk_s8_r3"


def test_a_language_model_has_targets_in_place_of_labels() -> None:
    """Neither head nor mean; both what follows and what it counts are given for every token."""
    bank = BankShape(layers=(0,), experts=2, rank=1, shared_rank=0, width=4, labels=0)  # P = 2 * 2 * 4 + 1 = 17
    spec = method_spec(ModelShape(bank, top_k=1, vocabulary=50), MethodShape(MethodKind.ACCUMULATE, 1, 1, 8, 2, 4))
    assert _said(spec.inputs) == (
        "trained[1,1,17] frozen[1,1,17] trained_sum[1,1,17] gate_scale[1,2] share[1] balance_target[1,2]"
        " balance_weight[1] ids[2,8] positions[2,8] attend[2,8,8] mask[2,8] targets[2,8] weights[2,8]"
    )
    assert _said(spec.outputs) == "loss[1] usage[1,2] affinity[1,2] trained_sum[1,1,17]"


def test_what_a_step_gives_back_it_takes_again() -> None:
    """Values and moments come out by the names under which they went in, in one shape."""
    spec = method_spec(ModelShape(BANK), TRAIN)
    inputs = {one.name: one.shape for one in spec.inputs}
    again = {one.name: one.shape for one in spec.outputs if one.name in inputs}
    assert tuple(again) == (*ports.TRAINABLE, *(moment for name in ports.TRAINABLE for moment in ports.moments(name)))
    assert all(inputs[name] == shape for name, shape in again.items())


def test_hyper_has_each_number_in_its_place() -> None:
    """At step 2 the corrections are 1 / (1 - 0.81) and 1 / (1 - 0.998001)."""
    hyper = ports.hyper_values(2, 0.004, head_learning_rate=0.0004, shared_learning_rate=0.002, weight_decay=0.01)
    assert hyper == pytest.approx((0.004, 0.0004, 0.01, 1 / 0.19, 1 / 0.001999, 0.002, 0, 0), rel=1e-9)
