"""Attention by turned products against plain autograd, with and without shared keys."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from export.compiling.simplify import eliminate_common_subexpressions, fold_constants, simplify
from export.model.attention import attention
from export.model.graft import blocked_scores

ROWS, SIZE, WIDTH, SCALE = 3, 5, 4, 0.37


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _plain(q: Tensor, k: Tensor, v: Tensor, blocked: Tensor) -> Tensor:
    """Row by row and head by head; q [1, h, N, e], k and v [1, k, N, e] -> [1, N, h, e]."""
    group = q.shape[1] // k.shape[1]
    rows = []
    for row in range(ROWS):
        place = slice(row * SIZE, (row + 1) * SIZE)
        mask = blocked[row, 0]
        heads = [
            torch.softmax(q[0, h, place] @ k[0, h // group, place].T * SCALE + mask, -1) @ v[0, h // group, place]
            for h in range(q.shape[1])
        ]
        rows.append(torch.stack(heads, 1))
    return torch.cat(rows).unsqueeze(0)


@pytest.mark.parametrize(("heads", "keys"), [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_and_its_gradients_are_those_of_the_formula(heads: int, keys: int, causal: bool) -> None:
    """Texts of 2 and 3 tokens, of 4, and none: no token sees another text or the future; gradients are autograd's."""
    attend = torch.zeros(ROWS, SIZE, SIZE)
    attend[0, :2, :2] = attend[0, 2:, 2:] = attend[1, :4, :4] = 1
    blocked = blocked_scores(attend, causal=causal)
    assert int((blocked == 0).sum()) == (3 + 6 + 10 if causal else 4 + 9 + 16)
    tokens, weights = ROWS * SIZE, _draw(1, ROWS * SIZE, heads, WIDTH, seed=2)
    leaves = [
        _draw(1, count, tokens, WIDTH, seed=3 + place).requires_grad_()
        for place, count in enumerate((heads, keys, keys))
    ]
    out, _ = attention(nn.Module(), *leaves, blocked, SCALE)
    wanted = _plain(*leaves, blocked)
    torch.testing.assert_close(out, wanted)
    gradients = torch.autograd.grad((out * weights).sum(), leaves)
    for one, other in zip(gradients, torch.autograd.grad((wanted * weights).sum(), leaves), strict=True):
        torch.testing.assert_close(one, other)


def test_no_matrix_of_scores_is_transposed() -> None:
    """Forward and backward permute what has a head's width only: a transposed [S, S] would be the larger copy."""

    def function(q: Tensor, k: Tensor, v: Tensor, g: Tensor) -> tuple[Tensor, ...]:
        leaves = [x.detach().requires_grad_() for x in (q, k, v)]
        out, _ = attention(nn.Module(), *leaves, torch.zeros(ROWS, 1, SIZE, SIZE), SCALE)
        return torch.autograd.grad((out * g).sum(), leaves)

    heads = [_draw(1, 2, ROWS * SIZE, WIDTH, seed=place) for place in range(3)]
    module = make_fx(function, decomposition_table=core_aten_decompositions())(
        *heads, _draw(1, ROWS * SIZE, 2, WIDTH, seed=9)
    )
    fold_constants(module)
    simplify(module)
    eliminate_common_subexpressions(module)
    moved = [node.meta["val"].numel() for node in module.graph.nodes if node.target == torch.ops.aten.permute.default]
    assert moved
    assert set(moved) <= {ROWS * SIZE * 2 * WIDTH, ROWS * SIZE * 2}  # [.., e] tensors, and row sums
