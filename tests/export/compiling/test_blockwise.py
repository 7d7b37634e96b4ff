"""4-bit weights: how they are rounded, where they are not, and that programs compute with them.

Axes: O outputs, I inputs.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from edge_runtime.wire.manifest_checks import Quantization
from export.compiling.blockwise import fits, quantize_groups, restore_groups
from export.compiling.lowering import lower
from export.compiling.quantize import fake_quantized, lower_frozen_linears
from export.compiling.simplify import fold_constants, simplify
from export.compiling.trace import trace
from export.model.frozen import FrozenLinear
from export.provenance import within
from export.proving.measure import Run, run_methods
from export.proving.reference import RoundedLinear
from export.shapes import GROUP


def _random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _off(values: Tensor, wanted: Tensor) -> float:
    return float((values - wanted).norm() / wanted.norm())


def test_levels_times_a_representable_scale_are_kept_exactly() -> None:
    """-7 to 7 times a half in one group, times 3 in the other: nothing is lost."""
    levels = torch.tensor([place % 15 - 7 for place in range(GROUP)], dtype=torch.int8)
    weight = torch.cat([levels * 0.5, levels * 3.0]).unsqueeze(0)
    rounded, scales = quantize_groups(weight)
    assert scales.tolist() == [[0.5, 3.0]]
    assert rounded.tolist() == [[*levels.tolist(), *levels.tolist()]]
    assert torch.equal(restore_groups(rounded, scales), weight)


def test_a_group_with_one_large_weight_cuts_it_for_the_others() -> None:
    """31 weights of 1 and one of 7.4: with a scale of 7.4 / 7 each of the many is off by 0.057."""
    weight = torch.ones(1, GROUP)
    weight[0, 0] = 7.4
    rounded = restore_groups(*quantize_groups(weight))
    assert float((rounded - weight).square().sum()) < 31 * (7.4 / 7 - 1) ** 2
    assert float(rounded[0, 0]) < 7.4


def test_rounding_of_normal_weights_costs_less_than_a_tenth() -> None:
    """Scales are bfloat16, positive even for zeros, and of their own group only."""
    weight = _random(6, 4 * GROUP)
    weight[0, :GROUP] = 0
    levels, scales = quantize_groups(weight)
    assert 0.06 < _off(restore_groups(levels, scales), weight) < 0.1
    assert torch.equal(scales.to(torch.bfloat16).to(torch.float32), scales)
    assert float(scales.min()) > 0
    assert levels.min() >= -8
    assert levels.max() == 7
    other = weight.clone()
    other[:, :GROUP] *= 50
    assert torch.equal(quantize_groups(other)[1][:, 1:], scales[:, 1:])


def test_a_number_in_the_weight_changes_no_level() -> None:
    """Attention's scale for 32 values a head, 0.177, is no power of two: only the bfloat16 scales round otherwise."""
    weight, factor = _random(24, 4 * GROUP), 32**-0.5
    (levels, scales), (same, scaled) = quantize_groups(weight), quantize_groups(weight * factor)
    assert torch.equal(levels, same)
    assert float((scaled / (scales * factor) - 1).abs().max()) <= 2**-7
    assert _off(restore_groups(same, scaled), restore_groups(levels, scales) * factor) < 0.003


def test_inputs_that_do_not_divide_stay_int8() -> None:
    """48 inputs are one group and a half."""
    assert (fits(torch.zeros(3, 48)), fits(torch.zeros(3, 64))) == (False, True)
    odd, even = _random(4, 48), _random(4, 64)
    assert torch.equal(fake_quantized(odd, int4=True), fake_quantized(odd))
    assert _off(fake_quantized(even, int4=True), even) > 5 * _off(fake_quantized(even), even)


def _lowered(module: GraphModule, *, int4: bool) -> dict[str, int]:
    fold_constants(module)
    simplify(module)
    return lower_frozen_linears(module, Quantization.INT4 if int4 else Quantization.INT8)


def test_each_direction_is_rounded_along_its_own_inputs() -> None:
    """[48, 32]: the forward's 32 inputs are a group, the backward's 48 are not. A head is int8 whatever divides."""
    layer, x = FrozenLinear(nn.Linear(32, 48)), _random(5, 32)

    def step(inputs: Tensor) -> tuple[Tensor, ...]:
        leaf = inputs.detach().requires_grad_()
        with torch.enable_grad():
            out = layer(leaf)
        return out.detach(), *torch.autograd.grad((out * out).sum(), leaf)

    def head(inputs: Tensor) -> tuple[Tensor, ...]:
        with within("head"):
            return (layer(inputs),)

    assert _lowered(trace(step, (x,)), int4=True) == {"int4": 1, "int8": 1}
    assert _lowered(trace(step, (x,)), int4=False) == {"int8": 2}
    assert _lowered(trace(head, (x,)), int4=True) == {"int8": 1}


def test_a_program_multiplies_by_the_rounded_weight(tmp_path: Path) -> None:
    """In XNNPACK's delegate, nothing outside; what is left is the rounding of activations to int8."""
    layer, x = FrozenLinear(nn.Linear(96, 40)), _random(7, 96)
    module = trace(lambda inputs: (layer(inputs),), (x,))
    assert _lowered(module, int4=True) == {"int4": 1}
    lowered = lower({"linear": (module, (x,))}, lambda _: None)
    assert lowered.outside == {"linear": {}}
    (tmp_path / "linear.pte").write_bytes(lowered.data)
    (ran,) = run_methods(tmp_path / "linear.pte", [Run("linear", (x,), 0)], tmp_path)
    assert layer.bias is not None
    assert _off(ran.outputs[0], x @ fake_quantized(layer.weight, int4=True).T + layer.bias) < 0.01
    assert _off(ran.outputs[0], x @ layer.weight.T + layer.bias) > 0.03


def test_a_row_of_zeros_has_no_gradient(tmp_path: Path) -> None:
    """Padding's rows are zero and the others 1e-6: XNNPACK by itself makes more of the zeros than of the others."""
    layer, x, dy = FrozenLinear(nn.Linear(32, 1536)), _random(6, 32), 1e-6 * _random(6, 1536, seed=2)
    layer.weight += 0.05  # sums of a row that are far from zero, as a trained model has them
    layer.transposed += 0.05
    dy[2] = 0

    def step(inputs: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
        leaf = inputs.detach().requires_grad_()
        with torch.enable_grad():
            out = layer(leaf)
        return torch.autograd.grad(out, leaf, slope)

    module = trace(step, (x, dy))
    assert _lowered(module, int4=True) == {"int4": 1}
    (tmp_path / "back.pte").write_bytes(lower({"back": (module, (x, dy))}, lambda _: None).data)
    (ran,) = run_methods(tmp_path / "back.pte", [Run("back", (x, dy), 0)], tmp_path)
    assert _off(ran.outputs[0], dy @ fake_quantized(layer.transposed, int4=True).T) < 0.02
    assert float(ran.outputs[0][2].abs().max()) < 1e-12


def test_the_rounded_linear_goes_back_by_the_weight_rounded_the_other_way() -> None:
    """Its gradient is dy times W^T as that is rounded, which is not the rounded W transposed."""
    linear = nn.Linear(64, 96)
    weight, x = linear.weight.detach(), _random(3, 64).requires_grad_()
    out = RoundedLinear(linear, int4=True)(x)
    (slope,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(out.detach(), x.detach() @ fake_quantized(weight, int4=True).T + linear.bias.detach())
    torch.testing.assert_close(slope, torch.ones(3, 96) @ fake_quantized(weight.T.contiguous(), int4=True).T)
    assert _off(slope, torch.ones(3, 96) @ fake_quantized(weight, int4=True)) > 0.01
