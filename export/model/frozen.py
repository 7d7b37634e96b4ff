"""Frozen operations: modules that replace those of a stock model and own their backward rule.

Axes: N rows (tokens), I inputs, O outputs, d width.

A frozen weight has no gradient, so a linear layer's backward is one GEMM with the transposed weight. Both GEMMs stay
single nodes in the traced graph (the custom operation below), which ``quantize`` and ``rewrite`` replace.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

SQRT_HALF_OVER_PI: Final = 0.3989422804014327
"""1/sqrt(2 pi), the normal density at 0."""
NEVER_ZERO: Final = 1e-20
"""Added to GELU's argument: far below float32's resolution except at 0, where gelu(x)/x is 0/0."""
NEAR: Final = 2.0**-10
"""Step of the difference quotient in int8 programs."""


@torch.library.custom_op("edge_experts::frozen_linear", mutates_args=())
def frozen_linear(x: Tensor, weight: Tensor, transposed: Tensor, bias: Tensor | None, exact: bool) -> Tensor:
    """Multiply [.., I] by a frozen weight [O, I] and add ``bias`` [O].

    Args:
        x: [.., I].
        weight: [O, I].
        transposed: [I, O], the backward's weight.
        bias: [O] or None.
        exact: never quantize (reductions by a row of ones).
    """
    del transposed, exact
    return functional.linear(x, weight, bias)


@frozen_linear.register_fake
def _(x: Tensor, weight: Tensor, transposed: Tensor, bias: Tensor | None, exact: bool) -> Tensor:
    del transposed, bias, exact
    return x.new_empty(*x.shape[:-1], weight.shape[0])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401
    del output
    ctx.save_for_backward(inputs[1], inputs[2])
    ctx.exact = inputs[4]


def _linear_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    weight, transposed = ctx.saved_tensors
    # A row of ones and its transpose have the same bytes. Runtimes that cache packed weights (Android's) find them by
    # the bytes of weight and bias, whatever the shape: a bias tells them apart.
    zeros = grad.new_zeros(transposed.shape[0]) if ctx.exact else None
    return frozen_linear(grad, transposed, weight, zeros, ctx.exact), None, None, None, None


frozen_linear.register_autograd(_linear_backward, setup_context=_save)
FROZEN_LINEAR: Final = torch.ops.edge_experts.frozen_linear.default
"""The operation as a node of a traced graph calls it."""


def row_sum(x: Tensor, scale: float = 1.0) -> Tensor:
    """Sum [.., I] over the last axis, times ``scale`` -> [.., 1]: a GEMM with a constant row, which XNNPACK runs."""
    row = torch.full((1, x.shape[-1]), scale)
    column: Tensor = frozen_linear(x, row, row.t().contiguous(), None, True)  # noqa: FBT003
    return column


class FrozenLinear(nn.Module):
    """Stand-in of ``nn.Linear``; the transposed weight is kept for the backward."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.weight: Tensor
        self.transposed: Tensor
        self.bias: Tensor | None
        self.register_buffer("weight", weight.contiguous())
        self.register_buffer("transposed", weight.t().contiguous())
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Map [.., I] to [.., O]."""
        out: Tensor = frozen_linear(x, self.weight, self.transposed, self.bias, False)  # noqa: FBT003
        return out


class _LayerNorm(torch.autograd.Function):
    """Layer norm whose scale and shift are frozen, taken apart: as a kernel of its own it would end a delegate.

    With h = (x - mean) * rstd, which the backward needs anyway, and g = dy * weight:
    dx = rstd * (g - mean(g) - h * mean(g * h)).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:  # noqa: ANN401
        share = 1.0 / x.shape[-1]
        centred = x - row_sum(x, share)
        rstd = torch.rsqrt(row_sum(centred * centred, share) + eps)
        hat = centred * rstd
        ctx.save_for_backward(hat, weight, rstd)
        return hat * weight + bias

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        hat, weight, rstd = ctx.saved_tensors
        share = 1.0 / hat.shape[-1]
        scaled = grads[0] * weight
        inner = hat * row_sum(scaled * hat, share) + row_sum(scaled, share)
        return (scaled - inner) * rstd, None, None, None


class FrozenLayerNorm(nn.Module):
    """Stand-in of ``nn.LayerNorm`` over the last axis."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", norm.weight.detach())
        self.register_buffer("bias", torch.zeros_like(self.weight) if norm.bias is None else norm.bias.detach())
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """Map [.., d] to [.., d]."""
        out: Tensor = _LayerNorm.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        return out


class _Gelu(torch.autograd.Function):
    """Exact GELU. What is kept for the backward is its derivative, Phi(x) + x phi(x) with Phi(x) = gelu(x) / x.

    XNNPACK has no erf; and the derivative is cheapest where x is still at hand.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        safe = x + NEVER_ZERO
        out = functional.gelu(safe)
        density = torch.exp(safe * safe * -0.5) * SQRT_HALF_OVER_PI
        ctx.save_for_backward(out / safe + safe * density)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ANN401
        (slope,) = ctx.saved_tensors
        grad_input: Tensor = grads[0] * slope
        return grad_input


class _NearGelu(torch.autograd.Function):
    """Exact GELU whose derivative is a difference quotient: two passes instead of eight.

    (gelu(x + 2^-10) - gelu(x)) 2^10 is the derivative 2^-11 further on, off by at most 4e-4, and by float32's rounding,
    1.2e-4 |x|. That is a hundredth of what int8 weights cost a gradient; programs without them use ``_Gelu``.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        out = functional.gelu(x)
        ctx.save_for_backward(functional.gelu(x + NEAR) - out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ANN401
        (rise,) = ctx.saved_tensors
        # In this order: a frozen linear carries the number (``fuse``).
        grad_input: Tensor = grads[0] * (1.0 / NEAR) * rise
        return grad_input


def gelu(x: Tensor) -> Tensor:
    """Return GELU of ``x``, any shape."""
    out: Tensor = _Gelu.apply(x)  # type: ignore[no-untyped-call]
    return out


class Gelu(nn.Module):
    """Stand-in of the exact GELU modules.

    Args:
        near: take the derivative from a difference, for programs whose linears are rounded anyway.
    """

    def __init__(self, *, near: bool) -> None:
        super().__init__()
        self.near = near

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to itself."""
        if not self.near:
            return gelu(x)
        out: Tensor = _NearGelu.apply(x)  # type: ignore[no-untyped-call]
        return out


def quantize_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 [O, I] and scales [O] with weight ~ int8 * scale; symmetric, half to even, in [-127, 127]."""
    scales = weight.abs().amax(1).clamp(min=1e-8) / 127
    return (weight / scales[:, None]).round().clamp(-127, 127).to(torch.int8), scales


class FrozenEmbedding(nn.Module):
    """Stand-in of ``nn.Embedding``: int8 rows with one scale each, through the plain lookup (no quantized kernel).

    With ``quantize`` off the rows stay float32.
    """

    def __init__(self, table: nn.Embedding, *, quantize: bool) -> None:
        super().__init__()
        weight = table.weight.detach()
        self.quantize = quantize
        self.rows: Tensor
        self.scales: Tensor
        self.num_embeddings = table.num_embeddings
        self.embedding_dim = table.embedding_dim
        if quantize:
            levels, scales = quantize_weight(weight)
            self.register_buffer("rows", levels)
            self.register_buffer("scales", scales.unsqueeze(-1))
        else:
            self.register_buffer("rows", weight)

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids [..] to [.., d]."""
        rows: Tensor = torch.ops.aten.embedding.default(self.rows, ids)
        if not self.quantize:
            return rows
        scales: Tensor = torch.ops.aten.embedding.default(self.scales, ids)
        return rows.to(torch.float32) * scales
