"""Lower traced graphs to one ExecuTorch program; the only file that imports ExecuTorch's compiler."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, to_edge
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.backend.partitioner import DelegationSpec
from executorch.exir.dialects._ops import ops as exir
from torch import Tensor
from torch.fx import Graph, GraphModule
from torch.fx.passes.infra.pass_base import PassResult

from export.errors import LoweringError

aten = exir.edge.aten
_FORBIDDEN: Final = ("quantized_decomposed.", "aten.mm", "aten.addmm", "aten.bmm", "aten.linear")
_COPIES = (
    aten.clone.default, aten._to_copy.default, aten.alias_copy.default, aten.expand_copy.default,  # noqa: SLF001
    aten.slice_copy.Tensor,
)


class DropCopies:
    """Remove copies that change neither shape nor type: every operation writes a fresh contiguous tensor anyway."""

    def __call__(self, module: GraphModule) -> PassResult:
        changed = False
        for node in list(module.graph.nodes):
            if node.op != "call_function" or node.target not in _COPIES:
                continue
            source = node.args[0]
            before, after = source.meta["val"], node.meta["val"]
            if before.dtype == after.dtype and before.shape == after.shape:
                node.replace_all_uses_with(source)
                module.graph.erase_node(node)
                changed = True
        module.graph.eliminate_dead_code()
        module.recompile()
        return PassResult(module, changed)


_PROVENANCE = ("from_node", "stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "original_aten")


def export_graph(module: GraphModule, inputs: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """Export a rewritten graph; provenance is dropped, since every later pass would copy its growing chain."""
    program = torch.export.export(module, inputs, strict=False)
    for node in program.graph.nodes:
        for key in _PROVENANCE:
            node.meta.pop(key, None)
    return program


class _Partitioner(XnnpackPartitioner):
    """XNNPACK's partitioner, told that the graph is already in its vocabulary.

    By default each delegate is retraced by 17 passes, which was half of the lowering time. The compile spec below is
    the backend's own switch for running one pass only; ``rewrite`` has done what the others would do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.delegation_spec = DelegationSpec("XnnpackBackend", [CompileSpec("dqlinear_partitioner", b"")])

    def _check_if_called_from_to_backend(self) -> bool:
        return False


@dataclass(frozen=True)
class Lowered:
    """A compiled program.

    Args:
        data: bytes of program.pte.
        planned: bytes of planned buffers for each method.
        outside: names of the operations left outside the delegates, with their counts, for each method.
    """

    data: bytes
    planned: dict[str, int]
    outside: dict[str, dict[str, int]]


def lower(programs: Mapping[str, torch.export.ExportedProgram], progress: Callable[[str], None]) -> Lowered:
    """Lower to XNNPACK: three retraces of a graph instead of the stock pipeline's dozens.

    Raises:
        LoweringError: when quantization or a matrix product is left outside the delegates.
    """
    config = EdgeCompileConfig(
        preserve_ops=[torch.ops.aten.linear.default], _check_ir_validity=False, _skip_dim_order=True
    )
    with _quiet():
        progress("convert")
        edge = to_edge(dict(programs), compile_config=config).transform([DropCopies()])
        progress("partition and delegate")
        edge = edge.to_backend(_Partitioner())
        outside = {name: _outside(edge.exported_program(name).graph) for name in programs}
        _check(outside)
        progress("emit")
        program = edge.to_executorch()
    plans = program._emitter_output.program.execution_plan  # noqa: SLF001 - the only place that knows
    planned = {plan.name: int(sum(plan.non_const_buffer_sizes)) for plan in plans}
    return Lowered(bytes(program.buffer), planned, outside)


def _outside(graph: Graph) -> dict[str, int]:
    """Count the operations that run outside the delegates; crossings and tuple reads do not compute."""
    skipped = ("executorch_call_delegate", "getitem")
    names = [
        str(getattr(node.target, "__name__", node.target)) for node in graph.nodes if node.op == "call_function"
    ]
    return dict(Counter(name for name in names if name not in skipped))


def _check(outside: Mapping[str, Mapping[str, int]]) -> None:
    for method, found in outside.items():
        bad = [name for name in found if name.startswith(_FORBIDDEN)]
        if bad:
            raise LoweringError(
                f"method {method}: {', '.join(sorted(bad))} stayed outside the XNNPACK delegates;"
                " such a program would not load or be a hundred times slower"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the compiler's notes to developers off the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        previous = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(previous)
