"""Each rewriting rule keeps the result, and leaves only what XNNPACK takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from edge_runtime.wire.manifest_checks import Quantization
from export.compiling.quantize import fake_quantized, lower_frozen_linears, quantize_weight
from export.compiling.simplify import eliminate_dead_tensors, fold_constants, simplify
from export.model.frozen import frozen_linear

Function = Callable[[Tensor], Tensor]
CASES: dict[str, tuple[Function, str]] = {
    "sum of trailing axes": (lambda x: x.sum((1, 2)), "aten.sum"),
    "sum of a leading axis": (lambda x: x.sum(0), "aten.sum"),
    "mean of the last axis": (lambda x: x.mean(-1, keepdim=True), "aten.mean"),
    "squeeze and unsqueeze": (lambda x: x.unsqueeze(1).squeeze(1) * 1.5, "squeeze"),
    "select": (lambda x: x[:, -1] + 1, "aten.select"),
    "slice of everything": (lambda x: x[:, 0:3] * 2, "aten.slice"),
    "square": (lambda x: x**2, "aten.pow"),
    "cube": (lambda x: x**3, "aten.pow"),
    "number minus tensor": (lambda x: 1 - x, "rsub"),
    "division by a number": (lambda x: x / 3, "aten.div"),
    "ones like it": (lambda x: x + torch.ones_like(x), "ones_like"),
    "broadcast that a product does itself": (lambda x: x[:, :1].expand(2, 3, 4) * x, "aten.expand"),
    "clone": (lambda x: x.clone() + x, "aten.clone"),
    "join of one": (lambda x: torch.cat([x + 1], 1) * 2, "aten.cat"),
    "join of seven": (lambda x: torch.cat([x * number for number in (1, 2, 3, 4, 5, 6, 7)], 1), "no such"),
}


@pytest.mark.parametrize("name", CASES)
def test_rule_keeps_the_result_and_removes_the_operation(name: str) -> None:
    """A rewritten graph computes the same without the operation that XNNPACK lacks."""
    function, gone = CASES[name]
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    module = make_fx(function)(x)
    fold_constants(module)
    simplify(module)
    torch.testing.assert_close(module(x), function(x))
    assert not [node for node in module.graph.nodes if gone in str(node.target)]


def _rotated_gradient(x: Tensor, factor: Tensor) -> Tensor:
    """The gradient that rotary positions take: both halves of x are cut out, swapped and multiplied."""
    leaf = x.detach().requires_grad_()
    turned = leaf * factor + torch.cat([-leaf[..., 2:], leaf[..., :2]], dim=-1) * factor * factor
    return torch.autograd.grad(turned.sum(), leaf)[0]


def test_halves_put_into_zeros_and_added_are_joined() -> None:
    """The backward of a cut is a tensor put into zeros; two that fill an axis become one join."""
    x, factor = torch.randn(2, 3, 4), torch.arange(1.0, 5.0).reshape(1, 1, 4)
    module = make_fx(_rotated_gradient, decomposition_table=core_aten_decompositions())(x, factor)
    assert [node for node in module.graph.nodes if "slice_scatter" in str(node.target)]
    fold_constants(module)
    simplify(module)
    targets = [str(node.target) for node in module.graph.nodes]
    assert "aten.slice_scatter.default" not in targets
    # d/dx1 = 1 + 3^2, d/dx2 = 2 + 4^2, d/dx3 = 3 - 1^2, d/dx4 = 4 - 2^2
    assert module(x, factor)[0, 0].tolist() == [10.0, 18.0, 2.0, 0.0]


def test_joins_are_of_at_most_five() -> None:
    """XNNPACK joins five tensors at a time."""
    module = make_fx(CASES["join of seven"][0])(torch.randn(2, 3, 4))
    simplify(module)
    joins = [node for node in module.graph.nodes if "aten.cat" in str(node.target)]
    assert joins
    assert max(len(node.args[0]) for node in joins) <= 5


def test_constants_are_computed_at_export() -> None:
    """What depends on no input is stored, not computed on the device; what nobody reads is dropped."""
    table = torch.arange(8.0)
    module = make_fx(lambda x: x + (table * 2)[:4].exp())(torch.zeros(4))
    fold_constants(module)
    eliminate_dead_tensors(module)
    assert [str(node.target) for node in module.graph.nodes if node.op == "call_function"] == ["aten.add.Tensor"]
    assert len(list(module.buffers())) == 1
    torch.testing.assert_close(module(torch.ones(4)), 1 + torch.exp(2 * table[:4]))


def test_weights_are_rounded_along_their_own_output_channel() -> None:
    """Each row's largest weight is 127 steps of its own scale; no weight is off by more than half a step."""
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(1)) * torch.arange(1.0, 7).unsqueeze(1)
    levels, scales = quantize_weight(weight)
    assert levels.abs().amax(1).tolist() == [127] * 6
    assert ((fake_quantized(weight) - weight).abs() <= scales.unsqueeze(1) * 0.5001).all()


def test_quantized_pattern_is_made_for_forward_and_backward_but_not_for_reductions() -> None:
    """A frozen linear becomes the dynamic pattern, in both directions; a row of ones stays exact."""
    weight = torch.randn(6, 4)

    def function(x: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        leaf = x.detach().requires_grad_()
        out = frozen_linear(leaf, weight, weight.t().contiguous(), None, False)  # noqa: FBT003 - an operation has positional arguments only
        (slope,) = torch.autograd.grad((out * out).sum(), leaf)
        return slope, frozen_linear(row, torch.ones(1, 4), torch.ones(4, 1), None, True)  # noqa: FBT003

    x = torch.randn(3, 4)
    module = make_fx(function)(x, x)
    fold_constants(module)
    simplify(module)
    lower_frozen_linears(module, Quantization.INT8)
    targets = [str(node.target) for node in module.graph.nodes]
    assert targets.count("quantized_decomposed.choose_qparams.tensor") == 2
    assert targets.count("aten.linear.default") == 3
    slope, total = module(x, x)
    exact = 2 * x @ weight.T @ weight
    assert float((slope - exact).norm() / exact.norm()) < 0.05
    torch.testing.assert_close(total, x.sum(1, keepdim=True))
