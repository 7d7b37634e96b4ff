"""The initial bank, version 0: the same bytes for every device profile of a federation, on every machine.

Axes: L adapted layers, M experts, r rank, d width, C labels.

An expert's down-projection has a seed of its own (its layer and index); up-projections and biases are zero, so the
bank starts as the pretrained model. Router rows are never zero: with a zero up-projection the task gives them no
gradient at the first step. The head is zero and favours no label: export has no examples, and a random head would hide
that. Training starts it from class means (``edge_runtime.wire.class_means``).
"""

from __future__ import annotations

import numpy as np

from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import RESERVED, BankShape, expert_parts, shared_parts
from edge_runtime.wire.tensors import Array

ROUTER_STD = 0.02


def initial_bank(shape: BankShape) -> Bank:
    """Return version 0 of a bank."""
    bank = Bank.zeros(shape)
    into = expert_parts(shape.width, shape.rank)[0]
    for row, layer in enumerate(shape.layers):
        for index in range(shape.experts):
            stream = _stream(layer, index)
            down = _kaiming(stream, (shape.rank, shape.width))
            router = _normal(stream, (1, shape.width), ROUTER_STD)
            bank.experts[row, index, : into.size] = np.concatenate([down, router]).reshape(-1)
        if shape.shared_rank:
            part = shared_parts(shape.width, shape.shared_rank)[0]
            bank.shared[row, : part.size] = _kaiming(_stream(layer, RESERVED), part.shape).reshape(-1)
    return bank


def _stream(layer: int, index: int) -> np.random.RandomState:
    # RandomState's streams are frozen for ever by numpy's policy; Generator's may change between versions.
    return np.random.RandomState(layer * 0x10000 + index)


def _kaiming(stream: np.random.RandomState, shape: tuple[int, ...]) -> Array:
    """Uniform with variance 1 / fan_in (He et al., arXiv 1502.01852, gain 1)."""
    bound = (3.0 / shape[-1]) ** 0.5
    return stream.uniform(-bound, bound, shape).astype(np.float32)


def _normal(stream: np.random.RandomState, shape: tuple[int, ...], deviation: float) -> Array:
    return (stream.standard_normal(shape) * deviation).astype(np.float32)
