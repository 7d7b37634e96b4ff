"""Compile methods: graft, trace, canonicalize, lower. The whole way from a backbone to program bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn
from torch.fx import GraphModule

from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports
from export.compiling.cut import above_cut, below_cut
from export.compiling.explain import explain
from export.compiling.fuse import fuse
from export.compiling.lowering import Lowered, lower
from export.compiling.quantize import lower_frozen_linears
from export.compiling.recompute import recompute
from export.compiling.simplify import eliminate_common_subexpressions, eliminate_dead_tensors, fold_constants, simplify
from export.compiling.trace import sample_inputs, trace
from export.model.graft import Graft
from export.model.step import build_step
from export.planning.job import Job
from export.provenance import inherited
from export.shapes import uncut

Progress = Callable[[str], None]


def compile_program(backbone: nn.Module, job: Job, progress: Progress) -> Lowered:
    """Return the lowered program, with what each graph says of itself; ``backbone`` is changed in place (``graft``).

    Raises:
        LoweringError: when the result is not what it must be.
    """
    graft = Graft(backbone, job.backbone.family, job.adapted, quantize_embedding=job.quantize != Quantization.NONE)
    graphs, explained = {}, {}
    for method in job.methods:
        progress(f"trace {method.name}")
        module = _traced(graft, job.model, method)
        inputs = sample_inputs(input_ports(job.model, method))
        progress(f"simplify {method.name}")
        canonicalize(module, job.quantize)
        with inherited(module):
            recompute(module, method.recompute, job.model.bank.width)
        eliminate_dead_tensors(module)
        explained[method.name] = explain(module)
        graphs[method.name] = module, inputs
    return replace(lower(graphs, progress), explained=explained)


def canonicalize(module: GraphModule, quantize: Quantization) -> None:
    """Bring a traced graph into XNNPACK's vocabulary, in place; its nodes keep their provenance.

    Before: ATen as traced, ``frozen_linear`` for each frozen layer, constants computed again in every call.
    After: operations that XNNPACK delegates, quantized linears, each value computed once.
    """
    with inherited(module):
        fold_constants(module)
        simplify(module)
        fuse(module)
        lower_frozen_linears(module, quantize)
        eliminate_common_subexpressions(module)


def _traced(graft: Graft, model: ModelShape, method: MethodShape) -> GraphModule:
    """Trace a method; one that begins or ends at the cut is a part of one that takes ids to the end."""
    whole = uncut(method, model)
    module = trace(build_step(graft, model, whole), sample_inputs(input_ports(model, whole)))
    if method.kind == MethodKind.TRUNK:
        return below_cut(module, model, method)
    return above_cut(module, model, method) if method.cut else module
