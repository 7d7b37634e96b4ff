"""Sparse experts as functions: gates, mixture, and the losses that keep routing balanced.

Axes: N = B*S tokens, d width, H experts held (m trained, then f frozen), r rank, rs shared rank.

A layer's held experts are two matrices: ``into`` [H*(r+1), d] (each expert's r down rows and its router row) and
``out`` [H*(r+1), d] (r up rows and the output bias). So all experts of a layer cost two GEMMs, whatever H is:

    z = x into^T,  u = gate * [gelu(z_hidden + bias), 1],  y = u out

Every held expert runs; one that is not chosen has gate 0. Equal to a loop over experts, with no dropped tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from export.frozen import gelu, row_sum

Z_LOSS: Final = 1e-3
TINY: Final = 1e-20


class _Project(torch.autograd.Function):
    """y = x w^T with w = the parts stacked; the first ``trainable`` parts get a gradient, x is never transposed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, trainable: int, *parts: Tensor) -> Tensor:  # noqa: ANN401
        weight = stack(parts)
        ctx.save_for_backward(x, weight)
        ctx.rows = [part.shape[0] for part in parts[:trainable]]
        ctx.rest = len(parts) - trainable
        return matmul(x, weight.t())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, weight = ctx.saved_tensors
        dx = matmul(grads[0], weight) if ctx.needs_input_grad[0] else None
        dw = matmul(grads[0][:, : sum(ctx.rows)].t(), x)
        return dx, None, *_cut(dw, ctx.rows), *([None] * ctx.rest)


class _Emit(torch.autograd.Function):
    """y = u w with w = the parts stacked; the first ``trainable`` parts get a gradient, dy is never transposed."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, trainable: int, *parts: Tensor) -> Tensor:  # noqa: ANN401
        weight = stack(parts)
        ctx.save_for_backward(u, weight)
        ctx.rows = [part.shape[0] for part in parts[:trainable]]
        ctx.rest = len(parts) - trainable
        return matmul(u, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        u, weight = ctx.saved_tensors
        du = matmul(grads[0], weight.t())
        dw = matmul(u[:, : sum(ctx.rows)].t(), grads[0])
        return du, None, *_cut(dw, ctx.rows), *([None] * ctx.rest)


class _Scores(torch.autograd.Function):
    """Cut scores [N, rs + H*(r+1)] into shared hidden [N, rs], hidden [N, H*r], logits [N, H]; backward: a cat."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, extra: int, held: int) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        tokens = scores.shape[0]
        cells = scores[:, extra:].reshape(tokens, held, -1)
        rank = cells.shape[2] - 1
        ctx.sizes = (tokens, held, rank, extra)
        hidden = cells[:, :, :rank].reshape(tokens, held * rank)
        return scores[:, :extra], hidden, cells[:, :, rank:].reshape(tokens, held)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        tokens, held, rank, extra = ctx.sizes
        always, hidden, logits = grads
        cells = torch.cat([hidden.reshape(tokens, held, rank), logits.reshape(tokens, held, 1)], dim=2)
        columns = cells.reshape(tokens, held * (rank + 1))
        return (torch.cat([always, columns], dim=1) if extra else columns), None, None


class _Units(torch.autograd.Function):
    """Join activations [N, rs], [N, H*r] and gates [N, H] to units [N, rs+1 + H*(r+1)], what ``_Emit`` multiplies.

    An expert's cell is gate * [activations, 1], the shared expert's is [activations, 1].
    """

    @staticmethod
    def forward(ctx: Any, always: Tensor | None, active: Tensor, gate: Tensor) -> Tensor:  # noqa: ANN401
        tokens, held = gate.shape
        cells = active.reshape(tokens, held, -1)
        ctx.save_for_backward(cells, gate)
        ctx.extra = 0 if always is None else always.shape[1]
        column = gate.unsqueeze(-1)
        columns = torch.cat([cells * column, column], dim=2).reshape(tokens, -1)
        return columns if always is None else torch.cat([always, torch.ones(tokens, 1), columns], dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:  # noqa: ANN401
        cells, gate = ctx.saved_tensors
        tokens, held, rank = cells.shape
        start = ctx.extra + 1 if ctx.extra else 0
        given = grads[0][:, start:].reshape(tokens, held, rank + 1)
        active, bias = given[:, :, :rank], given[:, :, rank:].reshape(tokens, held)
        to_gate = row_sum(active * cells).reshape(tokens, held) + bias
        to_active = (active * gate.unsqueeze(-1)).reshape(tokens, held * rank)
        return (grads[0][:, : ctx.extra] if ctx.extra else None), to_active, to_gate


def stack(parts: tuple[Tensor, ...]) -> Tensor:
    """Stack matrices of one width by rows."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _cut(stacked: Tensor, rows: list[int]) -> list[Tensor]:
    ends = [sum(rows[: place + 1]) for place in range(len(rows))]
    return [stacked[end - count : end] for end, count in zip(ends, rows, strict=True)]


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Multiply two run-time matrices as a batch of one: XNNPACK has no other form for them."""
    return torch.bmm(a.unsqueeze(0), b.unsqueeze(0)).squeeze(0)


class _AddBias(torch.autograd.Function):
    """x [N, K] + bias [K]; the bias gradient is a GEMM with a constant row over the (small) transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:  # noqa: ANN401, ARG004
        return x + bias

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401, ARG004
        return grads[0], row_sum(grads[0].t()).reshape(-1)


@dataclass(frozen=True)
class Mixture:
    """Result of a layer's experts.

    Args:
        out: [N, d], to be added to the feed-forward's output.
        usage: [H]; soft: mean gate over real tokens; top-k: share of real tokens routed to the slot.
        affinity: [H], mean routing probability (top-k only).
        balance: the layer's auxiliary loss, a scalar (top-k with targets only).
    """

    out: Tensor
    usage: Tensor
    affinity: Tensor | None
    balance: Tensor | None


@dataclass(frozen=True)
class LayerBank:
    """One layer's parameters as the program sees them.

    Args:
        trained: [m, P] as parts (into [m*(r+1), d], bias [m, r], out [m*(r+1), d]).
        frozen: the same for the frozen slots, or None.
        shared: (down [rs, d], bias [rs], up [rs+1, d]) or None.
        gate_scale: [H]; 0 marks an empty slot.
    """

    trained: tuple[Tensor, Tensor, Tensor]
    frozen: tuple[Tensor, Tensor, Tensor] | None
    shared: tuple[Tensor, Tensor, Tensor] | None
    gate_scale: Tensor


@dataclass(frozen=True)
class Balance:
    """Inputs of the auxiliary loss of one layer: q [H] and lambda (scalar tensor [1])."""

    target: Tensor
    weight: Tensor


def split_block(block: Tensor, rank: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut expert blocks [n, P] into (into [n*(r+1), d], bias [n, r], out [n*(r+1), d])."""
    cut = (rank + 1) * width
    into, bias, out = block[:, :cut], block[:, cut : cut + rank], block[:, cut + rank :]
    return into.reshape(-1, width), bias, out.reshape(-1, width)


def split_shared(block: Tensor, rank: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut a shared expert's block [Ps] into (down [rs, d], bias [rs], up [rs+1, d])."""
    cut = rank * width
    return block[:cut].reshape(rank, width), block[cut : cut + rank], block[cut + rank :].reshape(rank + 1, width)


def mixture(x: Tensor, bank: LayerBank, share: Tensor, top_k: int | None, balance: Balance | None) -> Mixture:
    """Run all experts of a layer.

    Args:
        x: [N, d], the feed-forward's own input.
        bank: the layer's parameters.
        share: [1, N], 1/T at real tokens and 0 at padding, so that a product with it is the mean over real tokens.
        top_k: k in top-k mode, None for soft gates.
        balance: inputs of the auxiliary loss; None in soft mode and when predicting.
    """
    biases = stack((bank.trained[1], *([bank.frozen[1]] if bank.frozen else [])))
    extra = bank.shared[0].shape[0] if bank.shared else 0
    scores = _Project.apply(x, *_parts(bank, 0))  # type: ignore[no-untyped-call]
    always, hidden, logits = _Scores.apply(scores, extra, bank.gate_scale.shape[0])  # type: ignore[no-untyped-call]
    gate, usage, affinity = _gates(logits, bank.gate_scale, share, top_k)
    active = gelu(_AddBias.apply(hidden, biases.reshape(-1)))  # type: ignore[no-untyped-call]
    steady = gelu(_AddBias.apply(always, bank.shared[1])) if bank.shared else None  # type: ignore[no-untyped-call]
    units = _Units.apply(steady, active, gate)  # type: ignore[no-untyped-call]
    out = _Emit.apply(units, *_parts(bank, 2))  # type: ignore[no-untyped-call]
    loss = None if balance is None else balance_loss(x.detach(), router_rows(bank), bank.gate_scale, share, balance)
    return Mixture(out, usage, affinity, loss)


def _parts(bank: LayerBank, place: int) -> tuple[int | Tensor, ...]:
    trainable = [*([bank.shared[place]] if bank.shared else []), bank.trained[place]]
    return len(trainable), *trainable, *([bank.frozen[place]] if bank.frozen else [])


def _gates(
    logits: Tensor, gate_scale: Tensor, share: Tensor, top_k: int | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    held = logits.shape[1]
    if top_k is None:
        gate = torch.sigmoid(logits) * (gate_scale * 2.0)
        return gate, matmul(share, gate.detach()).reshape(held), None
    gate, chosen, probability = topk_gate(logits, gate_scale, top_k)
    return gate, matmul(share, chosen).reshape(held), matmul(share, probability.detach()).reshape(held)


def occupied(gate_scale: Tensor) -> Tensor:
    """Return 1 where a slot holds an expert, 0 where it is empty; same shape."""
    return (gate_scale * 1e30).clamp(0.0, 1.0)


def topk_gate(logits: Tensor, gate_scale: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Route [N, H] logits: softmax over the held experts, the k largest kept (ties keep all) and renormalized.

    With k = 1 the probability itself is the gate: renormalized it would be 1, and the router would get no gradient.

    Returns:
        gate [N, H], chosen [N, H] as 0 or 1, probability [N, H].
    """
    full = occupied(gate_scale)
    probability = torch.softmax(logits + (full - 1.0) * 1e9, dim=-1)
    known = probability.detach()
    floor = torch.topk(known, top_k, dim=-1).values[:, -1:]
    chosen = (known >= floor).to(known.dtype) * full
    kept = probability * chosen
    return (kept if top_k == 1 else kept / row_sum(kept)), chosen, probability


def router_rows(bank: LayerBank) -> Tensor:
    """Return the router rows [H, d] of the held experts (the last row of each expert's ``into``)."""
    rank = bank.trained[1].shape[1]
    parts = [bank.trained[0], *([bank.frozen[0]] if bank.frozen else [])]
    width = parts[0].shape[1]
    return stack(tuple(part.reshape(-1, rank + 1, width)[:, rank] for part in parts))


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
    logits = _Project.apply(x, 1, router) + (full - 1.0) * 1e9  # type: ignore[no-untyped-call]
    peak = logits.detach().amax(dim=-1, keepdim=True)
    raised = torch.exp(logits - peak)
    total = row_sum(raised)
    mean = matmul(share, raised / total).reshape(held)
    target = balance.target
    divergence = row_sum((target * torch.log(target.clamp(min=TINY) / mean.clamp(min=TINY))).reshape(1, held))
    size = matmul(share, (torch.log(total) + peak).square())
    several = (row_sum(full.reshape(1, held)) - 1.0).clamp(0.0, 1.0)
    return ((divergence * balance.weight + size * Z_LOSS) * several).reshape(1)
