"""What the forms of a model add to its layers, for K clients at once, each with values of its own.

Axes: K clients, N tokens, d width, M experts, r rank, rs shared rank, U hidden units, h heads of RAVAN. Values come
stacked, [K, ...] as `arms.base` lists them. The arithmetic of experts is the product's (`export/model/experts`), tested
equal to it; it stands here a second time because a program for a phone is written for one device and no autograd.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.federation.arms.base import TARGETS, Form
from benchmarks.federation.backbone import Addition

OUTSIDE: Final = ("head", "scale")
"""Tensors that have no axis of layers."""
Z_LOSS: Final = 1e-3
"""As export/model/experts."""


@dataclass
class Traffic:
    """What routers leave behind in a forward. Args: auxiliary: [K], losses; routed: [K, M] for each layer, in order."""

    auxiliary: list[Tensor] = field(default_factory=list)
    routed: list[Tensor] = field(default_factory=list)


def additions(
    form: Form, values: Mapping[str, Tensor], width: int, kind: torch.dtype, traffic: Traffic
) -> list[Addition]:
    """Return the additions of the layers that ``values`` have, in order.

    Args:
        form: of the model.
        values: [K, layers, ...] each, but for those OUTSIDE; float32.
        width: d.
        kind: type to compute in.
        traffic: written to in a forward, with top-k gates.
    """
    rows = {name: tensor.to(kind).unbind(1) for name, tensor in values.items() if name not in OUTSIDE}
    if form.kind == "head" or not rows:
        return []
    count = len(next(iter(rows.values())))
    layers = [{name: parts[place] for name, parts in rows.items()} for place in range(count)]
    if form.kind == "experts":
        return [_experts(form, layer, width, traffic) for layer in layers]
    return [_factors(form, layer, values.get("scale")) for layer in layers]


@dataclass(frozen=True, eq=False)
class Experts:
    """A layer's experts as two matrices, as in export/model/bank_layout: the shared expert's units, then the others'.

    Args:
        into: [K, U, d].
        bias: [K, 1, U].
        up: [K, U, d].
        always: [K, 1, d], shift of the shared expert.
        router: [K, M, d].
        shift: [K, M, d].
        shared_rank: rs.
        balance: q [K, M] and lambda [K]; None without.
    """

    form: Form
    into: Tensor
    bias: Tensor
    up: Tensor
    always: Tensor
    router: Tensor
    shift: Tensor
    shared_rank: int
    balance: tuple[Tensor, Tensor] | None
    traffic: Traffic

    def project(self, name: str, x: Tensor) -> Tensor | None:
        """Return nothing: experts stand beside the feed-forward."""
        del name, x
        return None

    def beside(self, x: Tensor, share: Tensor) -> Tensor:
        """Return what the experts make of [K, N, d]."""
        units = functional.gelu(torch.baddbmm(self.bias, x, self.into.transpose(1, 2)))
        experts = self.router.shape[1]
        if self.form.gate == "none" or not experts:
            return torch.baddbmm(self.always + self.shift.sum(1, keepdim=True), units, self.up)
        logits = torch.bmm(x, self.router.transpose(1, 2))
        gate = self._gate(logits, x, share).to(x.dtype)
        shared, own = units[..., : self.shared_rank], units[..., self.shared_rank :]
        gated = (own.reshape(*gate.shape, -1) * gate[..., None]).reshape(own.shape)
        # One product for units and shifts, as the product does.
        return torch.baddbmm(self.always, torch.cat([shared, gated, gate], 2), torch.cat([self.up, self.shift], 1))

    def _gate(self, logits: Tensor, x: Tensor, share: Tensor) -> Tensor:
        if self.form.gate == "soft":
            return 2.0 * torch.sigmoid(logits.float())
        probability = torch.softmax(logits.float(), -1)
        least = probability.detach().topk(self.form.top_k, -1).values[..., -1:]
        chosen = (probability.detach() >= least).float()
        kept = probability * chosen
        self.traffic.routed.append((chosen * (share > 0)[..., None]).sum(1))
        self._balance(x, probability, chosen, share)
        return kept if self.form.top_k == 1 else kept / kept.sum(-1, keepdim=True)

    def _balance(self, x: Tensor, probability: Tensor, chosen: Tensor, share: Tensor) -> None:
        """Add the layer's auxiliary loss to the traffic."""
        if self.form.balance == "switch":
            spread = (chosen / chosen.sum(-1, keepdim=True) * share[..., None]).sum(1)
            mean = (probability * share[..., None]).sum(1)
            factor = self.form.switch_weight * self.router.shape[1]
            self.traffic.auxiliary.append(factor * (spread * mean).sum(1))
        elif self.form.balance == "kl" and self.balance is not None:
            target, weight = self.balance[0].float(), self.balance[1].float()
            logits = torch.bmm(x.detach(), self.router.transpose(1, 2)).float()
            mean = (torch.softmax(logits, -1) * share[..., None]).sum(1)
            divergence = (target * (target.clamp(min=1e-20) / (mean + 1e-20)).log()).sum(1)
            height = (torch.logsumexp(logits, -1).square() * share).sum(1)
            self.traffic.auxiliary.append(weight * divergence + Z_LOSS * height)


def _experts(form: Form, layer: Mapping[str, Tensor], width: int, traffic: Traffic) -> Experts:
    blocks, shared = layer["experts"], layer["shared"]
    clients, experts = blocks.shape[:2]
    rank, shared_rank = ranks_of(blocks.shape[-1], shared.shape[-1], width)
    down, router, bias, up, shift = torch.split(blocks, [rank * width, width, rank, rank * width, width], -1)
    rows = clients, experts * rank, width
    into, biases, ups = [down.reshape(rows)], [bias.reshape(rows[:2])], [up.reshape(rows)]
    always = torch.zeros(clients, 1, width, dtype=blocks.dtype, device=blocks.device)
    if shared_rank:
        parts = torch.split(shared, [shared_rank * width, shared_rank, shared_rank * width, width], -1)
        into.insert(0, parts[0].reshape(clients, shared_rank, width))
        biases.insert(0, parts[1])
        ups.insert(0, parts[2].reshape(clients, shared_rank, width))
        always = parts[3].reshape(clients, 1, width)
    joined = torch.cat(into, 1), torch.cat(biases, 1)[:, None], torch.cat(ups, 1)
    balance = (layer["balance_target"], layer["balance_weight"]) if form.balance == "kl" else None
    return Experts(form, *joined, always, router, shift, shared_rank, balance, traffic)


def ranks_of(expert: int, shared: int, width: int) -> tuple[int, int]:
    """Return r and rs for P, Ps and d: P = 2 (r + 1) d + r, Ps = (2 rs + 1) d + rs."""
    return (expert - 2 * width) // (2 * width + 1), (shared - width) // (2 * width + 1) if shared else 0


@dataclass(frozen=True, eq=False)
class Factors:
    """Low-rank additions.

    Args:
        pairs: a [K, r, in] and b [K, out, r], scale included, by the matrix's name.
        changes: of the matrix itself, [K, out, in], where it has one.
    """

    pairs: Mapping[str, tuple[Tensor, Tensor]]
    changes: Mapping[str, Tensor]

    def project(self, name: str, x: Tensor) -> Tensor | None:
        """Return b a x, and the change times x, for [K, N, in]; None where the matrix has no factors."""
        pair = self.pairs.get(name)
        if pair is None:
            return None
        inner = torch.bmm(x, pair[0].transpose(1, 2))
        if name not in self.changes:
            return torch.bmm(inner, pair[1].transpose(1, 2))
        return torch.baddbmm(torch.bmm(x, self.changes[name].transpose(1, 2)), inner, pair[1].transpose(1, 2))

    def beside(self, x: Tensor, share: Tensor) -> Tensor | None:
        """Return nothing."""
        del x, share
        return None


def _factors(form: Form, layer: Mapping[str, Tensor], scale: Tensor | None) -> Factors:
    pairs = {}
    for name in TARGETS:
        if f"{name}_a" not in layer:
            continue
        first, second = layer[f"{name}_a"], layer[f"{name}_b"]
        if form.kind == "ravan":  # heads side by side: b h s of each
            second = torch.matmul(second, layer[f"{name}_h"]) * layer[f"{name}_s"][:, :, None, None]
            first, second = first.flatten(1, 2), second.transpose(1, 2).flatten(2, 3)
        if scale is not None:
            second = second * scale[:, :, None].to(second.dtype)
        pairs[name] = (first, second)
    return Factors(pairs, {name: layer[f"{name}_w"] for name in pairs if f"{name}_w" in layer})
