"""Trace a step, gradients and optimizer included, into one graph of ATen operations.

``make_fx`` runs the function on real tensors: whatever depends on frozen tensors only (position embeddings, masks of
ones) is computed here and becomes a constant.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.program_interface import TensorSpec
from export.model.step import Function
from export.provenance import recorded


def sample_inputs(inputs: tuple[TensorSpec, ...], seed: int = 0) -> tuple[Tensor, ...]:
    """Return plausible inputs of a method: they are shapes to the tracer, and their values never enter the graph."""
    generator = torch.Generator().manual_seed(seed)
    tensors = []
    for port in inputs:
        if port.dtype == "int64":
            tensors.append(torch.ones(port.shape, dtype=torch.int64))  # a token that every vocabulary has
        elif port.name in {ports.ATTEND, ports.MASK, ports.GATE_SCALE, ports.UPDATE_MASK}:
            tensors.append(torch.ones(port.shape))
        else:
            tensors.append(torch.rand(port.shape, generator=generator) * 0.02)
    return tuple(tensors)


def trace(step: Function, inputs: tuple[Tensor, ...]) -> GraphModule:
    """Return the graph of ``step``: placeholders in the order of its inputs, frozen tensors as attributes.

    Every node says where it comes from (``provenance``).
    """
    table: Any = core_aten_decompositions()
    with tracing(TracingContext(FakeTensorMode())):  # one for all nodes; make_fx would start a new one for each
        return make_fx(recorded(step), decomposition_table=table)(*inputs)
