"""What the documented ways of ExecuTorch make of the same training step: ``documented`` and ``stock_xnnpack``.

The step is `benchmarks.eager`'s: stock encoder, experts, loss, gradients, AdamW. It is traced to one joint graph,
exported by ``torch.export`` and lowered as ExecuTorch's documentation says: ``to_edge`` and ``to_executorch`` (its
portable kernels), or ``to_edge_transform_and_lower`` with the stock XNNPACK partitioner. None of our rewrites is in it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, to_edge, to_edge_transform_and_lower
from torch import Tensor
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from benchmarks.eager import Classifier, Sizes, batch_of

METHOD: Final = "forward"
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
RATE: Final = 1e-3
Step = Callable[..., tuple[Tensor, ...]]


def step_function(model: Classifier) -> tuple[Step, list[Tensor]]:
    """Return the step over its whole state, and that state: n values, then n first and n second moments.

    ``step(*state, corrections [2], ids, mask, labels) -> (loss, logits, *state)``.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    count = len(names)

    def step(*state: Tensor) -> tuple[Tensor, ...]:
        values = [tensor.detach().requires_grad_() for tensor in state[:count]]
        first, second = state[count : 2 * count], state[2 * count : 3 * count]
        corrections, ids, mask, labels = state[3 * count :]
        logits = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (ids, mask))
        loss = functional.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(loss, values)
        first = tuple(BETA1 * m + (1 - BETA1) * g for m, g in zip(first, gradients, strict=True))
        second = tuple(BETA2 * v + (1 - BETA2) * g * g for v, g in zip(second, gradients, strict=True))
        moved = [
            p.detach() - RATE * (m * corrections[0]) / ((v * corrections[1]).sqrt() + EPSILON)
            for p, m, v in zip(values, first, second, strict=True)
        ]
        return (loss.detach(), logits.detach(), *moved, *first, *second)

    parameters = dict(model.named_parameters())
    values = [parameters[name].detach().clone() for name in names]
    return step, [*values, *(torch.zeros_like(p) for p in values), *(torch.full_like(p, 1e-6) for p in values)]


def exported(folder: Path, sizes: Sizes) -> tuple[Any, tuple[Tensor, ...]]:
    """Return the exported joint graph and its inputs."""
    torch.manual_seed(0)
    step, state = step_function(Classifier(folder, sizes, attention="eager"))
    inputs = (*state, torch.ones(2), *batch_of(sizes))
    graph = make_fx(step, decomposition_table=dict(core_aten_decompositions()))(*inputs)
    return torch.export.export(graph, inputs, strict=False), inputs


def program(folder: Path, sizes: Sizes, *, xnnpack: bool) -> tuple[bytes, tuple[Tensor, ...]]:
    """Return the program's bytes and its inputs; an output of the state is the input of the same place."""
    config = EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            graph, inputs = exported(folder, sizes)
            if xnnpack:
                edge = to_edge_transform_and_lower(graph, partitioner=[XnnpackPartitioner()], compile_config=config)
            else:
                edge = to_edge(graph, compile_config=config)
            return bytes(edge.to_executorch().buffer), inputs
        finally:
            logging.disable(logging.NOTSET)


def feeds(inputs: tuple[Tensor, ...]) -> list[tuple[int, int]]:
    """Return (output, input) of the state: outputs begin with loss and logits, inputs end with four of the batch."""
    return [(place + 2, place) for place in range(len(inputs) - 4)]
