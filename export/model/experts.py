"""Sparse experts as functions: gates, mixture, and the losses that keep routing balanced.

Axes: N token places, d width, H experts held (m trained, then f frozen), r rank, rs shared rank, U = rs + H*r hidden
units, of the shared expert first.

A layer's held experts are two matrices (``bank_layout``), so all of them cost two GEMMs, whatever H is:

    hidden, logits = x into^T + bias,  u = [1, gate, spread gate * gelu(hidden)],  y = u out

Every held expert runs; one that is not chosen has gate 0. Equal to a loop over experts, with no dropped tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from export.model.bank_layout import LayerBank, Slots
from export.model.frozen import frozen_linear, gelu, row_sum
from export.model.topk import at_least, kth_largest

Z_LOSS: Final = 1e-3
TINY: Final = 1e-20


class _Project(torch.autograd.Function):
    """x into^T + bias, cut into logits [1, N, H] and hidden units [1, N, U]; x is never transposed.

    Gradients go to x and to the trained rows (``Leaves``), which are the first.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bank: LayerBank, into: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        del bias
        slots = bank.slots
        ctx.save_for_backward(x, bank.into)
        ctx.slots, ctx.trained = slots, into.shape[1]
        scores = torch.bmm(x, bank.into.transpose(1, 2)) + bank.bias
        first, end = slots.trained, slots.trained + slots.units
        logits = [scores[:, :, :first], *([scores[:, :, end:]] if slots.frozen else [])]
        return (torch.cat(logits, 2) if slots.frozen else logits[0]), scores[:, :, first:end]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, into = ctx.saved_tensors
        slots = ctx.slots
        scores = torch.cat(_around(grads[1], grads[0], slots), 2)
        dx = torch.bmm(scores, into) if ctx.needs_input_grad[0] else None
        learned = scores[:, :, : ctx.trained].transpose(1, 2)
        sums = row_sum(learned)[:, slots.trained :]
        return dx, None, torch.bmm(learned, x), sums.reshape(1, -1)


class _Units(torch.autograd.Function):
    """Join what ``_Emit`` multiplies: 1 (shared shift), gates of trained slots, units, gates of frozen slots."""

    @staticmethod
    def forward(ctx: Any, units: Tensor, gate: Tensor, slots: Slots) -> Tensor:  # noqa: ANN401
        ctx.slots = slots
        ones = [torch.ones(1, units.shape[1], 1)] if slots.always else []
        return torch.cat([*ones, *_around(units, gate, slots)], 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        slots, (grad_output,) = ctx.slots, grads
        first = slots.always + slots.trained
        gate = grad_output[:, :, slots.always : first]
        if slots.frozen:
            gate = torch.cat([gate, grad_output[:, :, first + slots.units :]], 2)
        return grad_output[:, :, first : first + slots.units], gate, None


class _Emit(torch.autograd.Function):
    """u out; gradients go to u and to the trained rows, which are the first. The gradient of y is never transposed."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, bank: LayerBank, out: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(u, bank.out)
        ctx.trained = out.shape[1]
        return torch.bmm(u, bank.out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        u, out = ctx.saved_tensors
        learned = u[:, :, : ctx.trained].transpose(1, 2)
        return torch.bmm(grads[0], out.transpose(1, 2)), None, torch.bmm(learned, grads[0])


def _around(units: Tensor, gates: Tensor, slots: Slots) -> list[Tensor]:
    """Return a layer's columns in order: of the trained slots' gates, of the units, of the frozen slots' gates."""
    if not slots.frozen:
        return [gates, units]
    return [gates[:, :, : slots.trained], units, gates[:, :, slots.trained :]]


class _FirstRows(torch.autograd.Function):
    """The first rows of [1, n, d] as [count, d]; the gradient is followed by zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int) -> Tensor:  # noqa: ANN401
        ctx.rest = x.shape[1] - count
        return x[0, :count]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (grad_output,) = grads
        return torch.cat([grad_output, torch.zeros(ctx.rest, grad_output.shape[1])]).unsqueeze(0), None


class _Route(torch.autograd.Function):
    """x router^T for x [N, d], router [H, d]; only the router gets a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, router: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x)
        return matmul(x, router.t())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:  # noqa: ANN401
        (x,) = ctx.saved_tensors
        return None, matmul(grads[0].t(), x)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Multiply two run-time matrices as a batch of one: XNNPACK has no other form for them."""
    return torch.bmm(a.unsqueeze(0), b.unsqueeze(0)).squeeze(0)


@dataclass(frozen=True)
class Mixture:
    """Result of a layer's experts.

    Args:
        out: [1, N, d], to be added to the feed-forward's output.
        usage: [H]; soft: mean gate over real tokens; top-k: share of real tokens routed to the slot.
        affinity: [H], mean routing probability (top-k only).
        balance: the layer's auxiliary loss, a scalar (top-k with targets only).
    """

    out: Tensor
    usage: Tensor
    affinity: Tensor | None
    balance: Tensor | None


@dataclass(frozen=True)
class Balance:
    """Inputs of the auxiliary loss of one layer: q [H] and lambda (scalar tensor [1])."""

    target: Tensor
    weight: Tensor


def mixture(x: Tensor, bank: LayerBank, share: Tensor, top_k: int | None, balance: Balance | None) -> Mixture:
    """Run all experts of a layer.

    Args:
        x: [1, N, d], the feed-forward's own input.
        bank: the layer's parameters.
        share: [1, N], 1/T at real tokens and 0 at padding, so that a product with it is the mean over real tokens.
        top_k: k in top-k mode, None for soft gates.
        balance: inputs of the auxiliary loss; None in soft mode and when predicting.
    """
    leaves, slots = bank.leaves, bank.slots
    logits, hidden = _Project.apply(x, bank, leaves.into, leaves.bias)  # type: ignore[no-untyped-call]
    gate, usage, affinity = _gates(logits, bank.gate_scale, share, top_k)
    units = gelu(hidden) * spread(gate, slots)
    out = _Emit.apply(_Units.apply(units, gate, slots), bank, leaves.out)  # type: ignore[no-untyped-call]
    if balance is None:
        return Mixture(out, usage, affinity, None)
    tokens = x.detach().reshape(-1, x.shape[2])
    loss = balance_loss(tokens, router_rows(bank), bank.gate_scale, share, balance)
    return Mixture(out, usage, affinity, loss)


def spread(gate: Tensor, slots: Slots) -> Tensor:
    """Repeat gates [1, N, H] for each hidden unit [1, N, U], 1 for the shared expert's: a small GEMM, no copies."""
    each = torch.eye(slots.held).repeat_interleave(slots.rank, 0)
    weight = torch.cat([torch.zeros(slots.shared_rank, slots.held), each])
    always = torch.cat([torch.ones(slots.shared_rank), torch.zeros(len(each))]) if slots.shared_rank else None
    out: Tensor = frozen_linear(gate, weight, weight.t().contiguous(), always, True)  # noqa: FBT003
    return out


def _gates(
    logits: Tensor, gate_scale: Tensor, share: Tensor, top_k: int | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    def mean(values: Tensor) -> Tensor:
        return torch.bmm(share.unsqueeze(0), values).reshape(-1)

    if top_k is None:
        gate = torch.sigmoid(logits) * (gate_scale * 2.0)
        return gate, mean(gate.detach()), None
    gate, chosen, probability = topk_gate(logits, gate_scale, top_k)
    return gate, mean(chosen), mean(probability.detach())


def occupied(gate_scale: Tensor) -> Tensor:
    """Return 1 where a slot holds an expert, 0 where it is empty; same shape."""
    return (gate_scale * 1e30).clamp(0.0, 1.0)


def topk_gate(logits: Tensor, gate_scale: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Route [.., H] logits: softmax over the held experts, the k largest kept (ties keep all) and renormalized.

    With k = 1 the probability itself is the gate: renormalized it would be 1, and the router would get no gradient.

    Returns:
        gate, chosen as 0 or 1, and probability, each [.., H].
    """
    full = occupied(gate_scale)
    probability = torch.softmax(logits + (full - 1.0) * 1e9, dim=-1)
    detached = probability.detach()
    chosen = at_least(detached, kth_largest(detached, top_k, least=-1.0)) * full
    kept = probability * chosen
    return (kept if top_k == 1 else kept / row_sum(kept)), chosen, probability


def router_rows(bank: LayerBank) -> Tensor:
    """Return the router rows [H, d] of the held experts."""
    slots = bank.slots
    trained: Tensor = _FirstRows.apply(bank.leaves.into, slots.trained)  # type: ignore[no-untyped-call]
    if not slots.frozen:
        return trained
    return torch.cat([trained, bank.into[0, slots.trained + slots.units :]])


def balance_loss(x: Tensor, router: Tensor, gate_scale: Tensor, share: Tensor, balance: Balance) -> Tensor:
    """Lambda * KL(q || P) + 1e-3 * mean_t logsumexp(z_t)^2 over real tokens, as a tensor [1].

    Forward KL still pulls on an expert whose probability has died. ``x`` comes detached, so only the router learns
    from this. With fewer than two occupied slots there is nothing to balance and the loss is 0.

    Args:
        x: [N, d], detached.
        router: [H, d].
        gate_scale: [H]; 0 marks an empty slot.
        share: [1, N], weights of the mean over real tokens.
        balance: q [H] and lambda [1].
    """
    held = router.shape[0]
    full = occupied(gate_scale)
    logits = _Route.apply(x, router) + (full - 1.0) * 1e9  # type: ignore[no-untyped-call]
    peak = kth_largest(logits.detach(), 1, least=-1e30)
    raised = torch.exp(logits - peak)
    total = row_sum(raised)
    mean = matmul(share, raised / total).reshape(held)
    target = balance.target
    # Sums and products, whose backward XNNPACK has; that of a lower bound or of a power has comparisons.
    divergence = row_sum((target * torch.log(target.clamp(min=TINY) / (mean + TINY))).reshape(1, held))
    height = torch.log(total) + peak
    size = matmul(share, height * height)
    several = (row_sum(full.reshape(1, held)) - 1.0).clamp(0.0, 1.0)
    return ((divergence * balance.weight + size * Z_LOSS) * several).reshape(1)
