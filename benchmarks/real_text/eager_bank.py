"""A bank of ours in the eager model, so that both start from the same values.

Axes: L layers, m trained and f frozen experts, r rank, d width, C labels. Layout of a block: `edge_runtime.wire`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.eager import Classifier, Experts
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import ExpertId, Part, expert_parts, head_parts, shared_expert, shared_parts
from edge_runtime.wire.tensors import Array


def load(model: Classifier, bank: Bank, trained: int, scale: float) -> None:
    """Copy a bank into a model with as many experts, the first m of each layer to the trained ones; fix the head.

    Logits are scale * W (feature - mean) + bias, so the mean goes into the bias; that holds as long as W does not move.

    Args:
        model: its layers are the bank's.
        bank: with shared experts and labels.
        trained: m.
        scale: of logits.
    """
    with torch.no_grad():
        for place, layer in enumerate(bank.shape.layers):
            experts = model.experts[place]
            assert isinstance(experts, Experts)  # noqa: S101 - for the type checker
            load_layer(experts, bank, layer, trained)
        parts = _cut(bank.head, head_parts(bank.shape.width, bank.shape.labels))
        model.head.weight.copy_(parts["weight"])
        model.head.bias.copy_(parts["bias"] / scale - parts["weight"] @ torch.from_numpy(bank.mean))
    model.head.requires_grad_(False)  # noqa: FBT003 - torch's own signature


def load_layer(experts: Experts, bank: Bank, layer: int, trained: int) -> None:
    """Copy one layer's blocks."""
    shape = bank.shape
    blocks = [
        _cut(bank.block(ExpertId(layer, index)), expert_parts(shape.width, shape.rank))
        for index in range(shape.experts)
    ]
    for name, some in (("trained", blocks[:trained]), ("frozen", blocks[trained:])):
        if some:
            _load_bank(experts.banks[name], some)
    shared = _cut(bank.block(shared_expert(layer)), shared_parts(shape.width, shape.shared_rank))
    down, up = _linear(experts.shared[0]), _linear(experts.shared[2])
    for parameter, value in (
        (down.weight, shared["down"]),
        (down.bias, shared["bias"]),
        (up.weight, shared["up"][:-1].t()),
        (up.bias, shared["up"][-1]),
    ):
        parameter.copy_(value)


def _linear(module: nn.Module) -> nn.Linear:
    assert isinstance(module, nn.Linear)  # noqa: S101 - for the type checker
    return module


def _load_bank(bank: Any, blocks: Sequence[dict[str, Tensor]]) -> None:  # noqa: ANN401 - torch types any module's parts
    bank["down"].weight.copy_(torch.cat([block["in"][:-1] for block in blocks]))
    bank["down"].bias.copy_(torch.cat([block["bias"] for block in blocks]))
    bank["router"].weight.copy_(torch.stack([block["in"][-1] for block in blocks]))
    bank["up"].weight.copy_(torch.cat([block["out"][:-1] for block in blocks]).t())
    bank["bias"].weight.copy_(torch.stack([block["out"][-1] for block in blocks]).t())


def _cut(values: Array, parts: Sequence[Part]) -> dict[str, Tensor]:
    whole = torch.from_numpy(values.copy())
    return {part.name: whole[part.offset : part.offset + part.size].reshape(part.shape) for part in parts}
