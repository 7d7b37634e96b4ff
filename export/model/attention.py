"""Attention of every family, with a backward whose products need no transposed copy of a [S, S] matrix.

Axes: B batch, S sequence, h heads of queries, k heads of keys and values, n = h / k queries of a group, e width of a
head, G = B*k groups.

XNNPACK multiplies [G, i, j] by [G, j, l] only, and a program's every transposition is a copy. So the products are
turned until all that is transposed are [.., S, e] tensors, a fraction of the size, most of which has to be brought
from the layout of tokens into that of heads (or back) anyway: that is one copy for both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from export.model.frozen import row_sum


class _Attention(torch.autograd.Function):
    """softmax(q k^T scale + blocked) v, without a copy of keys and values for each query of a group.

    The n queries of a group stand below each other, so a group is one product [n S, e] x [e, S]; in the backward the
    sum over a group's queries is part of the product, too. With P the softmax, o the result and g its gradient:
    dv^T = g^T P, dS = P (g v^T - rowsum(g o)), dq = dS k scale, dk^T = (q scale)^T dS.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> Tensor:  # noqa: ANN401
        blocked, scale = rest
        scaled = q * scale  # on the queries and not on the scores: here a frozen linear can carry it (``fuse``)
        scores = torch.bmm(_rows(scaled, k), _columns(k)).reshape(*q.shape[:3], -1)
        # The reshape first: of a tensor with several readers, as the softmax is, it would be a copy.
        share = torch.softmax((scores + blocked).reshape(k.shape[0] * k.shape[1], -1, k.shape[2]), dim=-1)
        out = torch.bmm(share, _rows(v, v)).reshape(q.shape)
        ctx.save_for_backward(scaled, k, v, share, out)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        scaled, k, v, share, out = ctx.saved_tensors
        (grad_out,) = grads
        along = _rows(row_sum(grad_out * out), k)
        to_scores = share * (torch.bmm(_rows(grad_out, k), _columns(v)) - along)
        to_v = torch.bmm(_group_columns(grad_out, k), share)
        to_q = torch.bmm(to_scores, _rows(k, k)).reshape(scaled.shape) * ctx.scale
        to_k = torch.bmm(_group_columns(scaled, k), to_scores)
        return to_q, _from_columns(to_k, k), _from_columns(to_v, v), None, None


def _rows(x: Tensor, keys: Tensor) -> Tensor:
    """[B, h, S, e] -> [G, n S, e]."""
    return x.reshape(keys.shape[0] * keys.shape[1], -1, x.shape[3])


def _columns(x: Tensor) -> Tensor:
    """[B, k, S, e] -> [G, e, S]."""
    return x.transpose(2, 3).reshape(-1, x.shape[3], x.shape[2])


def _group_columns(x: Tensor, keys: Tensor) -> Tensor:
    """[B, h, S, e] -> [G, e, n S]."""
    batch, heads, size, width = x.shape
    groups = keys.shape[1]
    if heads == groups:
        return _columns(x)
    apart = x.reshape(batch, groups, heads // groups, size, width)
    return apart.permute(0, 1, 4, 2, 3).reshape(batch * groups, width, -1)


def _from_columns(x: Tensor, like: Tensor) -> Tensor:
    """[G, e, S] -> [B, k, S, e]."""
    batch, groups, size, width = like.shape
    return x.reshape(batch, groups, width, size).transpose(2, 3)


def attention(  # noqa: PLR0917 - transformers' signature
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    **_: Any,  # noqa: ANN401 - what else transformers passes: dropout, which is off
) -> tuple[Tensor, None]:
    """Map q [1, h, N, e] and k, v [1, k, N, e] to [1, N, h, e]: transformers' interface for attention functions.

    Args:
        module: the layer's attention.
        query: q of the N = B*S tokens of all texts.
        key: k.
        value: v.
        attention_mask: added to the scores, [B or 1, 1, S or 1, S].
        scaling: factor on the scores.
    """
    del module
    size = attention_mask.shape[-1]
    q, k, v = (_texts(x, size) for x in (query, key, value))
    out: Tensor = _Attention.apply(q, k, v, attention_mask, scaling)  # type: ignore[no-untyped-call]
    return out.transpose(1, 2).reshape(1, -1, *out.shape[1::2]), None


def _texts(x: Tensor, size: int) -> Tensor:
    """[1, h, N, e] -> [B, h, S, e] with S = ``size``."""
    return x.transpose(1, 2).reshape(-1, size, x.shape[1], x.shape[3]).transpose(1, 2)
