"""A batch in micro-batches makes the same step as the batch at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports, output_ports
from export.model.graft import Graft
from export.model.step import build_step
from export.proving.micro_batches import accumulate_inputs, apply_inputs, whole_outputs
from export.proving.proof import proof_inputs
from export.shapes import halves
from export.source import backbone

MODEL = ModelShape(BankShape((0, 1), 3, 4, 3, 32, 5))
TRAIN = MethodShape(MethodKind.TRAIN, 2, 1, 12, 8, 10)
Step = dict[str, Tensor]


@pytest.fixture(scope="module")
def graft(tiny: Path) -> Graft:
    """Return the tiny backbone with experts in its upper two layers."""
    info = backbone.find(str(tiny))
    return Graft(backbone.load(info), info.family, (1, 2), quantize_embedding=False)


@pytest.fixture(scope="module")
def inputs(tiny: Path) -> Step:
    """Return a batch of texts of unlike lengths and weights; one text has weight 0, another 3."""
    outputs = proof_inputs(MODEL, TRAIN, backbone.find(str(tiny)).sizes.vocabulary)
    weights = torch.tensor([1.0, 3.0, 1.0, 0.0, 0.5, 1.0, 1.0, 2.0, 1.0, 1.0])
    outputs["labels"] = outputs["labels"] * weights.unsqueeze(1)
    generator = torch.Generator().manual_seed(3)
    for name in outputs:
        if name.endswith(("_m1", "_m2")):
            outputs[name] = torch.rand(outputs[name].shape, generator=generator) * 1e-3
    return outputs


def _run(graft: Graft, method: MethodShape, inputs: Step) -> Step:
    names = [port.name for port in output_ports(MODEL, method)]
    return dict(zip(names, build_step(graft, MODEL, method)(*inputs.values()), strict=True))


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_micro_batches_make_the_step_of_the_whole_batch(graft: Graft, inputs: Step, parts: int) -> None:
    """Values, moments, logits and loss are those of one call on all nine texts; what has no token is not called.

    Equal up to the order of float32 sums; of eight rows seven hold texts, two of them two.
    """
    whole = _run(graft, TRAIN, inputs)
    micro, apply = halves(TRAIN, parts)
    calls = accumulate_inputs(MODEL, micro, inputs)
    outputs = [_run(graft, micro, call) for call in calls]
    stepped = _run(graft, apply, apply_inputs(MODEL, apply, inputs, outputs))
    assert len(calls) == min(parts, 7)
    for name, tensor in stepped.items():
        torch.testing.assert_close(tensor, whole[name], rtol=2e-5, atol=1e-7)
    names = [port.name for port in output_ports(MODEL, TRAIN)]
    joined = dict(zip(names, whole_outputs(MODEL, TRAIN, calls, outputs, stepped), strict=True))
    for name in ("loss", "logits", "usage"):
        torch.testing.assert_close(joined[name], whole[name])


def test_sums_go_through_the_calls(graft: Graft, inputs: Step) -> None:
    """A second call that starts from the first one's sums ends with the sums of both."""
    micro, _ = halves(TRAIN, 2)
    first, second = accumulate_inputs(MODEL, micro, inputs)
    apart = [_run(graft, micro, call) for call in (first, second)]
    chained = _run(graft, micro, {**second, **{name: apart[0][name] for name in second if name.endswith("_sum")}})
    for name in ("trained_sum", "shared_sum", "head_sum"):
        torch.testing.assert_close(chained[name], apart[0][name] + apart[1][name])
        assert apart[0][name].abs().max() > 0


def test_micro_batch_without_weight_adds_nothing(graft: Graft, inputs: Step) -> None:
    """Texts of weight 0 leave the sums as they were, bit for bit."""
    micro, _ = halves(TRAIN, 2)
    labels = inputs["labels"].clone()
    labels[4:7] = 0  # of the texts in rows 4 to 6
    calls = accumulate_inputs(MODEL, micro, {**inputs, "labels": labels})
    assert [float(call["share"]) for call in calls] == [1.0, 0.0]
    assert _run(graft, micro, calls[1])["trained_sum"].abs().max() == 0


def test_names_and_ports_of_the_halves() -> None:
    """``accumulate`` has no optimizer, ``apply`` has no text; the sums pass from one to the other."""
    micro, apply = halves(TRAIN, 4)
    assert (micro.name, apply.name) == ("accumulate_m2_f1_s12_r2_b10", "apply_m2")
    first = [port.name for port in input_ports(MODEL, micro)]
    assert first == [
        *("trained", "frozen", "shared", "head", "mean", "trained_sum", "shared_sum", "head_sum"),
        *("gate_scale", "share", "ids", "positions", "attend", "mask", "readout", "labels"),
    ]
    second = [port.name for port in input_ports(MODEL, apply)]
    assert second == [
        *("trained", "shared", "head", "trained_m1", "trained_m2", "shared_m1", "shared_m2", "head_m1", "head_m2"),
        *("trained_sum", "shared_sum", "head_sum", "update_mask", "hyper"),
    ]
    assert [port.name for port in output_ports(MODEL, apply)] == second[:9]
    sums = [port for port in output_ports(MODEL, micro) if port.name.endswith("_sum")]
    assert sums == [port for port in input_ports(MODEL, apply) if port.name.endswith("_sum")]
