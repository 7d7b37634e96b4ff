"""The training step as a function: loss, AdamW, masks, padding; against PyTorch's own pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports, output_ports
from export.model.graft import Graft
from export.model.step import build_step, cross_entropy
from export.proving.packed_texts import places_of
from export.proving.proof import proof_inputs, reference_gradients
from export.proving.reference import Reference
from export.source import backbone

MODEL = ModelShape(BankShape((0, 1), 3, 4, 3, 32, 5))
TRAIN = MethodShape(MethodKind.TRAIN, 2, 1, 12, 4, 6)
ADAPTED = (1, 2)
Step = dict[str, Tensor]


def _run(folder: Path, step_inputs: Step, model: ModelShape = MODEL, method: MethodShape = TRAIN) -> Step:
    info = backbone.find(str(folder))
    graft = Graft(backbone.load(info), info.family, ADAPTED, quantize_embedding=False)
    names = [port.name for port in output_ports(model, method)]
    return dict(zip(names, build_step(graft, model, method)(*step_inputs.values()), strict=True))


@pytest.fixture(scope="module")
def step_inputs(tiny: Path) -> Step:
    """Return inputs in a general position: padding, U not zero, random moments."""
    values = proof_inputs(MODEL, TRAIN, backbone.find(str(tiny)).sizes.vocabulary)
    generator = torch.Generator().manual_seed(3)
    for name in values:
        if name.endswith(("_m1", "_m2")):
            values[name] = torch.rand(values[name].shape, generator=generator) * 1e-3
    values["hyper"] = torch.tensor([3e-3, 1e-3, 0.1, 1 / (1 - 0.9**3), 1 / (1 - 0.999**3), 2e-3, 0, 0])
    return values


@pytest.fixture(scope="module")
def step_outputs(tiny: Path, step_inputs: Step) -> Step:
    """Return the step's outputs on ``step_inputs``."""
    return _run(tiny, step_inputs)


def test_ports_name_every_tensor_once_and_in_the_order_of_the_contract() -> None:
    """Names, order and shapes of a method's inputs and outputs are fixed for every runtime."""
    inputs = [port.name for port in input_ports(MODEL, TRAIN)]
    assert inputs == [
        "trained",
        "frozen",
        "shared",
        "head",
        "mean",
        "trained_m1",
        "trained_m2",
        "shared_m1",
        "shared_m2",
        "head_m1",
        "head_m2",
        "gate_scale",
        "update_mask",
        "hyper",
        "ids",
        "positions",
        "attend",
        "mask",
        "readout",
        "labels",
    ]
    outputs = [port.name for port in output_ports(MODEL, TRAIN)]
    assert outputs == [
        "loss",
        "logits",
        "usage",
        "trained",
        "shared",
        "head",
        "trained_m1",
        "trained_m2",
        "shared_m1",
        "shared_m2",
        "head_m1",
        "head_m2",
    ]
    routed = ModelShape(BankShape((0, 1), 3, 4, 0, 32, 5), 2)
    names = [port.name for port in input_ports(routed, MethodShape(MethodKind.TRAIN, 3, 0, 12, 4, 6))]
    assert "frozen" not in names
    assert "shared" not in names
    texts = ["ids", "positions", "attend"]
    assert names[-8:] == ["balance_target", "balance_weight", *texts, "mask", "readout", "labels"]
    predict = [port.name for port in input_ports(MODEL, MethodShape(MethodKind.PREDICT, 3, 0, 12, 1, 1))]
    assert predict == ["experts", "shared", "head", "mean", "gate_scale", *texts, "readout"]


def test_outputs_have_the_promised_shapes(step_outputs: Step) -> None:
    """Every output is what its port says."""
    for port in output_ports(MODEL, TRAIN):
        assert tuple(step_outputs[port.name].shape) == port.shape, port.name


def test_loss_and_gradients_equal_the_stock_model_with_hooks(tiny: Path, step_inputs: Step, step_outputs: Step) -> None:
    """Frozen stand-ins with their own backward rules change nothing: autograd through the stock model agrees."""
    info = backbone.find(str(tiny))
    loss, gradients = reference_gradients(Reference(backbone.load(info), info.family, ADAPTED, MODEL), step_inputs)
    torch.testing.assert_close(step_outputs["loss"][0], loss)
    for name, gradient in gradients.items():
        computed = (step_outputs[f"{name}_m1"] - 0.9 * step_inputs[f"{name}_m1"]) / 0.1
        torch.testing.assert_close(computed, gradient, rtol=1e-3, atol=1e-6)


def test_optimizer_is_torchs_adamw(step_inputs: Step, step_outputs: Step) -> None:
    """New values and moments are those of torch.optim.AdamW with the same state, at its third step."""
    for name, rate in (("trained", 3e-3), ("head", 1e-3), ("shared", 2e-3)):
        parameter = torch.nn.Parameter(step_inputs[name].clone())
        optimizer = torch.optim.AdamW([parameter], lr=rate, weight_decay=0.1, eps=1e-8)
        first, second = step_inputs[f"{name}_m1"], step_inputs[f"{name}_m2"]
        optimizer.state[parameter] = {"step": torch.tensor(2.0), "exp_avg": first.clone(), "exp_avg_sq": second.clone()}
        parameter.grad = (step_outputs[f"{name}_m1"] - 0.9 * first) / 0.1
        optimizer.step()
        torch.testing.assert_close(step_outputs[name], parameter.data, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            step_outputs[f"{name}_m2"], optimizer.state[parameter]["exp_avg_sq"], rtol=1e-3, atol=1e-9
        )


def test_slot_without_update_is_bit_identical(tiny: Path, step_inputs: Step) -> None:
    """update_mask 0 keeps a slot's values and both moments; the slot beside it moves."""
    frozen_slot = {**step_inputs, "update_mask": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}
    after = _run(tiny, frozen_slot)
    for name in ("trained", "trained_m1", "trained_m2"):
        for layer, slot in ((0, 1), (1, 0)):
            assert after[name][layer, slot].numpy().tobytes() == step_inputs[name][layer, slot].numpy().tobytes()
        assert not torch.equal(after[name][0, 0], step_inputs[name][0, 0])


def test_head_with_no_rate_is_bit_identical(tiny: Path, step_inputs: Step) -> None:
    """head_lr 0 keeps the head, whatever its gradient and decay."""
    hyper = step_inputs["hyper"].clone()
    hyper[1] = 0
    after = _run(tiny, {**step_inputs, "hyper": hyper})
    assert after["head"].numpy().tobytes() == step_inputs["head"].numpy().tobytes()


def test_empty_slot_changes_nothing_and_learns_nothing(tiny: Path, step_inputs: Step) -> None:
    """gate_scale 0: whatever lies in the slot, the loss is the same, and its gradient is exactly zero."""
    scale = step_inputs["gate_scale"].clone()
    scale[:, 1] = 0
    moved = step_inputs["trained"].clone()
    moved[:, 1] = 9.0
    zero = {name: torch.zeros_like(step_inputs[name]) for name in ("trained_m1", "trained_m2")}
    one = _run(tiny, {**step_inputs, **zero, "gate_scale": scale})
    other = _run(tiny, {**step_inputs, **zero, "gate_scale": scale, "trained": moved})
    torch.testing.assert_close(one["loss"], other["loss"])
    assert one["trained_m1"][:, 1].abs().max() == 0
    assert one["usage"][:, 1].abs().max() == 0


def test_padding_and_texts_of_no_weight_change_nothing(tiny: Path, step_inputs: Step, step_outputs: Step) -> None:
    """Other ids under the padding, and in a text whose labels are zero, give the same loss, gradients and usage."""
    ids = torch.where(step_inputs["mask"] > 0, step_inputs["ids"], torch.full_like(step_inputs["ids"], 17))
    same = _run(tiny, {**step_inputs, "ids": ids})
    for name in ("loss", "trained_m1", "shared_m1", "usage"):
        torch.testing.assert_close(same[name], step_outputs[name], rtol=1e-5, atol=1e-8)
    labels = step_inputs["labels"].clone()
    labels[3] = 0
    cut = _run(tiny, {**step_inputs, "labels": labels})
    other_ids, text = step_inputs["ids"].clone(), places_of(step_inputs)[3]
    other_ids[text.places] = (other_ids[text.places] + 5) % 50
    other = _run(tiny, {**step_inputs, "labels": labels, "ids": other_ids})
    torch.testing.assert_close(cut["loss"], other["loss"])
    assert not torch.equal(cut["logits"][3], other["logits"][3])
    assert torch.equal(cut["logits"][0], other["logits"][0])  # which stands in the same row


def test_a_batch_of_padding_is_finite(tiny: Path, step_inputs: Step) -> None:
    """All rows and slots unused: the loss is zero and nothing becomes NaN."""
    texts = ("positions", "attend", "mask", "readout", "labels")
    empty = {name: torch.zeros_like(step_inputs[name]) for name in texts}
    after = _run(tiny, {**step_inputs, **empty})
    assert float(after["loss"]) == 0
    assert all(torch.isfinite(tensor).all() for tensor in after.values())


def test_cross_entropy_weighs_examples() -> None:
    """Sum of weight * -log softmax over the sum of weights; a zero row does not count."""
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, -5.0]])
    labels = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    first, second = torch.log1p(torch.exp(torch.tensor([-2.0, -1.0])))
    torch.testing.assert_close(cross_entropy(logits, labels), ((3 * first + second) / 4).reshape(1))


def test_balance_loss_moves_routers_only_and_is_no_part_of_the_loss(tiny: Path) -> None:
    """In top-k mode a program tells the task's loss; of the trained blocks the balance loss moves router rows alone."""
    model = ModelShape(BankShape((0, 1), 3, 4, 0, 32, 5), 2)
    method = MethodShape(MethodKind.TRAIN, 3, 0, 12, 4, 6)
    step_inputs = proof_inputs(model, method, backbone.find(str(tiny)).sizes.vocabulary)
    plain = _run(tiny, step_inputs, model, method)
    pushed = _run(tiny, {**step_inputs, "balance_weight": torch.full((2,), 0.5)}, model, method)
    info = backbone.find(str(tiny))
    loss, _ = reference_gradients(Reference(backbone.load(info), info.family, ADAPTED, model), step_inputs)
    torch.testing.assert_close(plain["loss"][0], loss)
    assert pushed["loss"].tolist() == plain["loss"].tolist()
    change = (pushed["trained_m1"] - plain["trained_m1"]).abs().amax((0, 1))
    router = slice(4 * 32, 5 * 32)
    assert change[router].max() > 1e-5
    change[router] = 0
    assert change.max() < 1e-7
    torch.testing.assert_close(plain["affinity"].sum(1), torch.ones(2))
    torch.testing.assert_close(plain["usage"].sum(1), torch.full((2,), 2.0))
