"""Experts one at a time, as the formulas say: slow, and written without looking at the product's stacked form."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gelu(x: Tensor) -> Tensor:
    """X * Phi(x)."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def parts(block: Tensor, rank: int, width: int) -> dict[str, Tensor]:
    """Cut one expert's block [P] by the layout of the contract."""
    down, rest = block[: rank * width].reshape(rank, width), block[rank * width :]
    router, rest = rest[:width], rest[width:]
    bias, rest = rest[:rank], rest[rank:]
    return {
        "down": down,
        "router": router,
        "bias": bias,
        "up": rest[: rank * width].reshape(rank, width),
        "shift": rest[rank * width :],
    }


def soft(x: Tensor, blocks: Tensor, scale: Tensor, rank: int) -> Tensor:
    """Sum over experts and tokens, one by one: [N, d]."""
    rows = []
    for token in x:
        total = torch.zeros_like(token)
        for block, factor in zip(blocks, scale, strict=True):
            one = parts(block, rank, x.shape[1])
            gate = factor * 2 / (1 + torch.exp(-(one["router"] @ token)))
            inner = gelu(one["down"] @ token + one["bias"])
            total = total + gate * (one["up"].T @ inner + one["shift"])
        rows.append(total)
    return torch.stack(rows)


def routed(x: Tensor, blocks: Tensor, scale: Tensor, rank: int, top_k: int) -> tuple[Tensor, Tensor]:
    """Top-k over the occupied slots, token by token: ([N, d], chosen [N, H])."""
    rows, chosen = [], torch.zeros(len(x), len(blocks))
    held = [slot for slot in range(len(blocks)) if float(scale[slot]) > 0]
    for place, token in enumerate(x):
        experts = {slot: parts(blocks[slot], rank, x.shape[1]) for slot in held}
        weights = {slot: torch.exp(one["router"] @ token) for slot, one in experts.items()}
        whole = sum(weights.values())
        probability = {slot: weight / whole for slot, weight in weights.items()}
        best = sorted(held, key=lambda slot: -float(probability[slot]))[:top_k]
        total, share = torch.zeros_like(token), sum(probability[slot] for slot in best)
        for slot in best:
            gate = probability[slot] if top_k == 1 else probability[slot] / share
            one = experts[slot]
            total = total + gate * (one["up"].T @ gelu(one["down"] @ token + one["bias"]) + one["shift"])
            chosen[place, slot] = 1
        rows.append(total)
    return torch.stack(rows), chosen


def shared(x: Tensor, block: Tensor, rank: int) -> Tensor:
    """The always-on expert, token by token: [N, d]."""
    width = x.shape[1]
    down, bias = block[: rank * width].reshape(rank, width), block[rank * width : rank * width + rank]
    up = block[rank * width + rank :].reshape(rank + 1, width)
    return torch.stack([up[:-1].T @ gelu(down @ token + bias) + up[-1] for token in x])
