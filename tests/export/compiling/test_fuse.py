"""Frozen linears carry the numbers beside them, and constants are added at export: the result stays, passes go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from export.compiling.fuse import fuse
from export.compiling.simplify import fold_constants, simplify
from export.model.frozen import FROZEN_LINEAR, frozen_linear

WEIGHT, BIAS = (torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape))) for shape in ((6, 4), (6,)))


TABLE = torch.randn(7, 4, generator=torch.Generator().manual_seed(8))


def _linear(x: Tensor, *, exact: bool = False) -> Tensor:
    out: Tensor = frozen_linear(x, WEIGHT, WEIGHT.t().contiguous(), BIAS, exact)
    return out


def _back(x: Tensor) -> Tensor:
    out: Tensor = frozen_linear(x, WEIGHT.t().contiguous(), WEIGHT, None, False)  # noqa: FBT003 - positional only
    return out


def _fused(function: Callable[[Tensor], Any], x: Tensor) -> GraphModule:
    module = make_fx(function)(x)
    fold_constants(module)
    simplify(module)
    fuse(module)
    return module


def _count(module: GraphModule, target: object) -> int:
    return sum(node.target == target for node in module.graph.nodes)


FOLDED: dict[str, Callable[[Tensor], Tensor]] = {
    "after a linear, its bias too": lambda x: _linear(x) * 0.25 + 1.0,
    "after it, through moves": lambda x: (_linear(x).reshape(3, 2, 3, 2).permute(0, 2, 1, 3) * 0.25).exp(),
    "before a linear, but not its bias": lambda x: _linear(x.exp() * 0.25),
    "before it, through moves": lambda x: _back((x.exp().reshape(3, 2, 6) * 3.0).permute(1, 0, 2).reshape(6, 6)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_a_number_goes_into_the_linear_beside_it(name: str) -> None:
    """The product is gone, the result is not changed, and the backbone's own weight is not touched."""
    function, before = FOLDED[name], WEIGHT.clone()
    x = torch.randn(6, 6 if "before it" in name else 4, generator=torch.Generator().manual_seed(5))
    module = _fused(function, x)
    assert _count(module, torch.ops.aten.mul.Tensor) == 0
    assert _count(module, FROZEN_LINEAR) == 1
    torch.testing.assert_close(module(x), function(x))
    assert torch.equal(WEIGHT, before)


KEPT: dict[str, Callable[[Tensor], Any]] = {
    "another reader of the linear": lambda x: [f(y) for y in [_linear(x)] for f in (lambda y: y * 0.25, torch.exp)],
    "another reader of the product": lambda x: [f(y) for y in [x.exp() * 0.25] for f in (_linear, torch.tanh)],
    "a linear that must stay exact": lambda x: _linear(x, exact=True) * 0.25 + 1.0,
    "a tensor and not a number": lambda x: _linear(x) * torch.arange(6.0),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_number_that_others_see_stays(name: str) -> None:
    """Where somebody else reads the tensor, or the weight is no frozen one, the product is made."""
    function, x = KEPT[name], torch.randn(6, 4, generator=torch.Generator().manual_seed(6))
    module = _fused(function, x)
    assert _count(module, torch.ops.aten.mul.Tensor) == 1
    torch.testing.assert_close(module(x), function(x))


def test_constants_added_one_after_another_are_one_and_stored_once() -> None:
    """Two sums become one, and a row that was repeated for every text is one row: 4 + 12 values instead of 24 + 12."""
    row, table = torch.randn(4), torch.randn(3, 4)
    x = torch.randn(2, 3, 4)

    def function(x: Tensor) -> Tensor:
        return (x.exp() + row.expand(2, 3, 4).contiguous()) + table

    module = _fused(function, x)
    assert _count(module, torch.ops.aten.add.Tensor) == 1
    (total,) = [node.args[1] for node in module.graph.nodes if node.target == torch.ops.aten.add.Tensor]
    assert getattr(module, total.target).numel() == 12  # type: ignore[union-attr,arg-type]
    torch.testing.assert_close(module(x), function(x))


def _looked_up(x: Tensor, row: Tensor) -> Tensor:
    """Add a row to all tokens, and the first or second of the table to each."""
    places = (x[:, 0] > 0).to(torch.int64)
    return (x.exp() + row) + torch.ops.aten.embedding.default(TABLE, places)


def test_a_row_beside_looked_up_rows_is_added_to_the_table() -> None:
    """One sum is left, the lookup reads the row as well, and the table itself is not touched."""
    row, before = torch.randn(4), TABLE.clone()
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(9))
    module = _fused(lambda x: _looked_up(x, row.expand(6, 4).contiguous()), x)
    (lookup,) = [node for node in module.graph.nodes if node.target == torch.ops.aten.embedding.default]
    assert _count(module, torch.ops.aten.add.Tensor) == 1
    torch.testing.assert_close(getattr(module, lookup.args[0].target), TABLE + row)  # type: ignore[union-attr,arg-type]
    torch.testing.assert_close(module(x), _looked_up(x, row))
    assert torch.equal(TABLE, before)


def test_rows_that_differ_from_token_to_token_stay_beside_the_table() -> None:
    """They belong to a place in the call, and a table's rows to a place in a text."""
    rows, x = torch.randn(6, 4), torch.randn(6, 4)
    module = _fused(lambda x: _looked_up(x, rows), x)
    (lookup,) = [node for node in module.graph.nodes if node.target == torch.ops.aten.embedding.default]
    assert torch.equal(getattr(module, lookup.args[0].target), TABLE)  # type: ignore[union-attr,arg-type]
    torch.testing.assert_close(module(x), _looked_up(x, rows))
