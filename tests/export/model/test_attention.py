"""Attention by turned products against plain autograd, with and without shared keys."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from export.compiling.simplify import eliminate_common_subexpressions, fold_constants, simplify
from export.model.attention import attention

TEXTS, SIZE, WIDTH, SCALE = 3, 5, 4, 0.37


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _plain(q: Tensor, k: Tensor, v: Tensor, blocked: Tensor) -> Tensor:
    """Text by text and head by head; q [1, h, N, e], k and v [1, k, N, e] -> [1, N, h, e]."""
    group = q.shape[1] // k.shape[1]
    texts = []
    for text in range(TEXTS):
        place = slice(text * SIZE, (text + 1) * SIZE)
        mask = blocked[text if len(blocked) > 1 else 0, 0]
        heads = [
            torch.softmax(q[0, h, place] @ k[0, h // group, place].T * SCALE + mask, -1) @ v[0, h // group, place]
            for h in range(q.shape[1])
        ]
        texts.append(torch.stack(heads, 1))
    return torch.cat(texts).unsqueeze(0)


@pytest.mark.parametrize(("heads", "keys"), [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_and_its_gradients_are_those_of_the_formula(heads: int, keys: int, causal: bool) -> None:
    """No text sees another; padding or the future is not looked at; q, k and v get autograd's gradients."""
    blocked = _draw(TEXTS, 1, 1, SIZE, seed=1).sign().clamp(max=0) * 1e4
    if causal:
        blocked = torch.full((SIZE, SIZE), -1e4).triu(1).reshape(1, 1, SIZE, SIZE)
    tokens, weights = TEXTS * SIZE, _draw(1, TEXTS * SIZE, heads, WIDTH, seed=2)
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
        out, _ = attention(nn.Module(), *leaves, torch.zeros(TEXTS, 1, 1, SIZE), SCALE)
        return torch.autograd.grad((out * g).sum(), leaves)

    heads = [_draw(1, 2, TEXTS * SIZE, WIDTH, seed=place) for place in range(3)]
    module = make_fx(function, decomposition_table=core_aten_decompositions())(
        *heads, _draw(1, TEXTS * SIZE, 2, WIDTH, seed=9)
    )
    fold_constants(module)
    simplify(module)
    eliminate_common_subexpressions(module)
    moved = [node.meta["val"].numel() for node in module.graph.nodes if node.target == torch.ops.aten.permute.default]
    assert moved
    assert set(moved) <= {TEXTS * SIZE * 2 * WIDTH, TEXTS * SIZE * 2}  # [.., e] tensors, and row sums
