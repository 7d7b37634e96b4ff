"""Frozen operations of decoders: RMS norm and SiLU. d is the width.

Each owns a short backward in XNNPACK's vocabulary, like those of ``frozen``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from export.model.frozen import row_sum


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


class Silu(nn.Module):
    """Stand-in of the SiLU modules."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to itself."""
        out: Tensor = _Silu.apply(x)  # type: ignore[no-untyped-call]
        return out
