"""Frozen operations of decoders: RMS norm, SiLU, and attention in which groups of queries share keys.

Axes: B batch, S sequence, d width, h heads of queries, k heads of keys and values, n = h / k queries of a group,
e width of a head. Each owns a short backward in XNNPACK's vocabulary, like those of ``frozen``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from export.frozen import row_sum


class _RmsNorm(torch.autograd.Function):
    """x * rstd * weight with a frozen weight.

    With g = dy * weight and s = rstd: dx = s * g - x * s^3 * mean(g * x).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:  # noqa: ANN401
        rstd = torch.rsqrt(row_sum(x * x, 1.0 / x.shape[-1]) + eps)
        ctx.save_for_backward(x, weight, rstd)
        return x * rstd * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, weight, rstd = ctx.saved_tensors
        scaled = grads[0] * weight
        along = row_sum(scaled * x, 1.0 / x.shape[-1]) * (rstd * rstd * rstd)
        return scaled * rstd - x * along, None, None


class FrozenRmsNorm(nn.Module):
    """Stand-in of a model's RMS norm over the last axis."""

    def __init__(self, norm: Any) -> None:  # noqa: ANN401 - each family has a class of its own
        super().__init__()
        self.weight: Tensor
        self.register_buffer("weight", norm.weight.detach())
        self.eps = float(norm.variance_epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """Map [.., d] to [.., d]."""
        out: Tensor = _RmsNorm.apply(x, self.weight, self.eps)  # type: ignore[no-untyped-call]
        return out


def is_rms_norm(module: nn.Module) -> bool:
    """Return whether a module is some family's RMS norm: they share a name and a form, and no base class."""
    return type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")


class _Silu(torch.autograd.Function):
    """x * s with s = sigmoid(x); derivative s + y (1 - s)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ANN401
        (x,) = ctx.saved_tensors
        share = torch.sigmoid(x)
        slope: Tensor = share + x * share * (1.0 - share)
        return grads[0] * slope


class _Attention(torch.autograd.Function):
    """softmax(q k^T scale + blocked) v, without a copy of keys and values for each query of a group.

    The n queries of a group stand below each other, so a group is one product [n S, e] x [e, S]; in the backward the
    sum over a group's queries is part of the product, too. With P the softmax, o the result and g its gradient:
    dv = P^T g, dS = P (g v^T - rowsum(g o)), dq = scale dS k, dk = dS^T (scale q).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> Tensor:  # noqa: ANN401
        blocked, scale = rest
        groups, keys, width = k.shape[0] * k.shape[1], k.shape[2], k.shape[3]
        queries = (q * scale).reshape(groups, -1, width)
        k, v = k.reshape(groups, keys, width), v.reshape(groups, keys, width)
        scores = torch.bmm(queries, k.transpose(1, 2)).reshape(*q.shape[:3], keys)
        share = torch.softmax(scores + blocked, dim=-1).reshape(groups, -1, keys)
        out = torch.bmm(share, v)
        ctx.save_for_backward(queries, k, v, share, out)
        ctx.scale = scale
        return out.reshape(q.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        queries, k, v, share, out = ctx.saved_tensors
        shape = grads[0].shape
        given = grads[0].reshape(out.shape)
        to_scores = share * (torch.bmm(given, v.transpose(1, 2)) - row_sum(given * out))
        to_v = torch.bmm(share.transpose(1, 2), given)
        to_q = torch.bmm(to_scores, k) * ctx.scale
        to_k = torch.bmm(to_scores.transpose(1, 2), queries)
        few = (shape[0], -1, *k.shape[1:])
        return to_q.reshape(shape), to_k.reshape(few), to_v.reshape(few), None, None


def attention(  # noqa: PLR0917 - transformers' signature
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    **_: Any,  # noqa: ANN401 - what else transformers passes: dropout, which is off
) -> tuple[Tensor, None]:
    """Map q [B, h, S, e] and k, v [B, k, S, e] to [B, S, h, e]: transformers' interface for attention functions.

    Args:
        module: the layer's attention.
        query: q.
        key: k.
        value: v.
        attention_mask: added to the scores, [B or 1, 1, S or 1, S].
        scaling: factor on the scores.
    """
    del module
    out: Tensor = _Attention.apply(query, key, value, attention_mask, scaling)  # type: ignore[no-untyped-call]
    return out.transpose(1, 2), None


class Silu(nn.Module):
    """Stand-in of the SiLU modules."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to itself."""
        out: Tensor = _Silu.apply(x)  # type: ignore[no-untyped-call]
        return out
