"""Lower traced graphs to one ExecuTorch program; the only file that imports ExecuTorch's compiler."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, ExecutorchBackendConfig
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.backend.partitioner import DelegationSpec
from executorch.exir.lowered_backend_module import LoweredBackendModule
from executorch.exir.passes import MemoryPlanningPass
from executorch.exir.passes.replace_aten_with_edge_pass import aten_to_edge, should_lower_to_edge
from executorch.exir.verification.verifier import EXIREdgeDialectVerifier
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram, ExportGraphSignature
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import InputKind, InputSpec, OutputKind, OutputSpec, TensorArgument
from torch.fx import Graph, GraphModule, Node
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torch.fx.passes.infra.partitioner import Partition
from torch.utils import _pytree as pytree

from export.compiling.delegates import check_delegates
from export.compiling.liveness import peak_bytes
from export.errors import LoweringError
from export.provenance import KEY, place_of

_FORBIDDEN: Final = ("quantized_decomposed.", "aten.mm", "aten.addmm", "aten.bmm", "aten.linear")
_COPYING: Final = {
    torch.ops.aten.reshape.default: torch.ops.aten.view_copy.default,
    torch.ops.aten.permute.default: torch.ops.aten.permute_copy.default,
    torch.ops.aten.slice.Tensor: torch.ops.aten.slice_copy.Tensor,
    torch.ops.aten.select.int: torch.ops.aten.select_copy.int,
    torch.ops.aten.expand.default: torch.ops.aten.expand_copy.default,
}
"""A program has no views of a tensor: each becomes the operation that writes a fresh, contiguous one."""


def edge_program(module: GraphModule, inputs: tuple[Tensor, ...], config: EdgeCompileConfig) -> ExportedProgram:
    """Turn a rewritten graph into an exported program of ExecuTorch's edge dialect, in one pass.

    ``torch.export`` and ``to_edge`` would retrace the graph about ten times to reach the same: the graph is functional,
    static and in core ATen already, so only names change. Attributes become buffers.
    """
    graph, mode = module.graph, FakeTensorMode(allow_non_fake_inputs=True)
    _fake_values(module, inputs, mode)
    buffers = _lift_constants(module)
    for node in graph.nodes:
        if node.op == "call_function":
            target = _COPYING.get(node.target, node.target)
            node.target = aten_to_edge(target) if should_lower_to_edge(target) else target
    module.recompile()
    return ExportedProgram(
        root=module,
        graph=graph,
        graph_signature=_signature(graph, buffers),
        state_dict=buffers,
        range_constraints={},
        module_call_graph=[_calling(inputs, graph)],
        example_inputs=(inputs, {}),
        constants={},
        verifiers=[EXIREdgeDialectVerifier(edge_compile_config=config, class_only=True)],
    )


def _fake_values(module: GraphModule, inputs: tuple[Tensor, ...], mode: FakeTensorMode) -> None:
    """Record for every node a fake, contiguous tensor of its shape and type; drop what only served tracing."""
    FakeTensorProp(module, mode).propagate(*inputs)

    def contiguous(value: object) -> object:
        return torch.empty(value.shape, dtype=value.dtype) if isinstance(value, Tensor) else value

    with mode:
        for node in module.graph.nodes:
            value = node.meta.get("val")
            kept = {KEY: node.meta[KEY]} if KEY in node.meta else {}
            node.meta = {"val": pytree.tree_map(contiguous, value), **kept} if value is not None else kept


def _lift_constants(module: GraphModule) -> dict[str, Tensor]:
    """Turn attributes into placeholders before the inputs, one for each distinct tensor; return them by name."""
    graph = module.graph
    first = next(node for node in graph.nodes if node.op == "placeholder")
    buffers: dict[str, Tensor] = {}
    places: dict[tuple[object, ...], Node] = {}
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        tensor = getattr(module, str(node.target)).detach().contiguous()
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.dtype)
        if key not in places:
            name = f"frozen_{len(buffers)}"
            buffers[name] = tensor
            with graph.inserting_before(first):
                places[key] = graph.placeholder(name)
            places[key].meta = dict(node.meta)
        node.replace_all_uses_with(places[key])
        graph.erase_node(node)
    for name in {str(node) for node, _ in [*module.named_buffers(), *module.named_parameters()]}:
        delattr(module, name)
    return buffers


def _signature(graph: Graph, buffers: Mapping[str, Tensor]) -> ExportGraphSignature:
    inputs = [
        InputSpec(InputKind.BUFFER, TensorArgument(node.name), target=node.name, persistent=True)
        if node.name in buffers
        else InputSpec(InputKind.USER_INPUT, TensorArgument(node.name), target=None)
        for node in graph.nodes
        if node.op == "placeholder"
    ]
    results: Any = graph.output_node().args[0]
    outputs = [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(node.name), target=None) for node in results]
    return ExportGraphSignature(inputs, outputs)


def _calling(inputs: tuple[Tensor, ...], graph: Graph) -> ModuleCallEntry:
    results = tuple(graph.output_node().args[0])  # type: ignore[arg-type]
    signature = ModuleCallSignature(
        inputs=[],
        outputs=[],
        in_spec=pytree.tree_flatten((inputs, {}))[1],
        out_spec=pytree.tree_flatten(tuple(range(len(results))))[1],
    )
    return ModuleCallEntry("", signature)


class _Partitioner(XnnpackPartitioner):  # type: ignore[misc] # untyped library
    """XNNPACK's partitioner, told that the graph is already in its vocabulary.

    By default each delegate is retraced by 17 passes, which was half of the lowering time. The compile spec below is
    the backend's own switch for running one pass only; ``rewrite`` has done what the others would do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.delegation_spec = DelegationSpec("XnnpackBackend", [CompileSpec("dqlinear_partitioner", b"")])

    def _check_if_called_from_to_backend(self) -> bool:
        return False

    def generate_partitions(self, ep: ExportedProgram) -> list[Partition]:
        """Return as few delegates as there can be, in the order in which they run."""
        groups: list[list[Node]] = self.get_matched_nodes_from_configs(ep)
        return [Partition(number, nodes) for number, nodes in enumerate(stages(ep.graph, groups))]


def stages(graph: Graph, groups: Sequence[Sequence[Node]]) -> list[list[Node]]:
    """Divide the nodes of ``groups`` among delegates that run one after another, as few as there can be.

    A node's stage is the number of times that the longest way to it leaves the delegates. So what is needed by a node
    outside and what waits for it are never in one delegate, and no two delegates wait for each other.

    Args:
        graph: all nodes, in an order in which they can run.
        groups: nodes for the backend; those of a group stay together.

    Returns:
        Nodes by stage, in the graph's order.
    """
    group = {node: number for number, nodes in enumerate(groups) for node in nodes}
    floor = [0] * len(groups)
    while True:
        stage: dict[Node, int] = {}
        highest = list(floor)
        for node in graph.nodes:
            inside = node in group
            before = [stage[one] + (one in group and not inside) for one in node.all_input_nodes if _computes(one)]
            stage[node] = max([floor[group[node]] if inside else 0, *before])
            if inside:
                highest[group[node]] = max(highest[group[node]], stage[node])
        if highest == floor:
            break
        floor = highest
    by_stage: dict[int, list[Node]] = {}
    for node in graph.nodes:
        if node in group:
            by_stage.setdefault(floor[group[node]], []).append(node)
    return [by_stage[number] for number in sorted(by_stage)]


def _computes(node: Node) -> bool:
    return node.op == "call_function"


@dataclass(frozen=True)
class Lowered:
    """A compiled program.

    Args:
        data: bytes of program.pte.
        planned: bytes of planned buffers for each method.
        workspace: bytes that live at a time inside the delegates, of which they share one piece, for each method.
        outside: names of the operations left outside the delegates, with their counts, for each method.
        left: the same with their layers (-1: none) and why, as plain values.
        explained: what each method's graph said of itself before it was lowered (``explain``).
    """

    data: bytes
    planned: dict[str, int]
    workspace: dict[str, int]
    outside: dict[str, dict[str, int]]
    left: dict[str, list[dict[str, Any]]]
    explained: dict[str, Any] = field(default_factory=dict)


def lower(
    graphs: Mapping[str, tuple[GraphModule, tuple[Tensor, ...]]],
    progress: Callable[[str], None],
    *,
    plan_outputs: bool = True,
) -> Lowered:
    """Lower rewritten graphs, each with example inputs, to methods of one program for XNNPACK.

    Args:
        graphs: by method name.
        progress: told each stage.
        plan_outputs: give outputs a place in the arena, from which they are copied to the caller. Without it they
            are written to the caller's memory, which only the native driver gives.

    Raises:
        LoweringError: when quantization or a matrix product is left outside the delegates, or a delegate holds what
            old runtimes compute wrong (``delegates``).
    """
    config = EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True)
    with _quiet():
        progress("convert")
        edge = EdgeProgramManager(
            {name: edge_program(module, inputs, config) for name, (module, inputs) in graphs.items()}, None, config
        )
        progress("partition and delegate")
        edge = edge.to_backend(_Partitioner())
        outside = {name: _outside(edge.exported_program(name).graph) for name in graphs}
        workspace = {name: _workspace(edge.exported_program(name).graph_module) for name in graphs}
        left = {name: _left(edge.exported_program(name).graph) for name in graphs}
        _check(outside)
        check_delegates({name: _delegates(edge.exported_program(name).graph_module) for name in graphs})
        progress("emit")
        # Inputs are read where the caller has them: a place in the arena would cost memory all the step, and a copy.
        planning = MemoryPlanningPass(alloc_graph_input=False, alloc_graph_output=plan_outputs)
        program = edge.to_executorch(ExecutorchBackendConfig(memory_planning_pass=planning))
    plans = program._emitter_output.program.execution_plan  # noqa: SLF001 - the only place that knows
    planned = {plan.name: int(sum(plan.non_const_buffer_sizes)) for plan in plans}
    return Lowered(bytes(program.buffer), planned, workspace, outside, left)


def _outside(graph: Graph) -> dict[str, int]:
    """Count the operations that run outside the delegates; crossings and tuple reads do not compute."""
    skipped = ("executorch_call_delegate", "getitem")
    names = [str(getattr(node.target, "__name__", node.target)) for node in graph.nodes if node.op == "call_function"]
    return dict(Counter(name for name in names if name not in skipped))


def _workspace(module: GraphModule) -> int:
    return max((peak_bytes(inside.graph) for inside in _delegates(module)), default=0)


def _delegates(module: GraphModule) -> list[ExportedProgram]:
    """Return what each delegate of a method was made from."""
    return [child.original_module for child in module.children() if isinstance(child, LoweredBackendModule)]


def _left(graph: Graph) -> list[dict[str, Any]]:
    """Return what runs outside the delegates, with where it comes from and why."""
    layers_of: dict[str, list[int]] = {}
    for node in graph.nodes:
        name = str(getattr(node.target, "__name__", node.target))
        if node.op == "call_function" and name not in ("executorch_call_delegate", "getitem"):
            layer = place_of(node).layer
            layers_of.setdefault(name, []).append(-1 if layer is None else layer)
    return [
        {"operation": name, "count": len(layers), "layers": sorted(set(layers)), "why": _why(name)}
        for name, layers in sorted(layers_of.items())
    ]


def _why(operation: str) -> str:
    word = operation.removeprefix("aten.")
    known = any(config.target_name == word for config in ALL_PARTITIONER_CONFIGS)
    return "XNNPACK does not take it with this shape, type or operand" if known else "XNNPACK has no such operation"


def _check(outside: Mapping[str, Mapping[str, int]]) -> None:
    for method, operations in outside.items():
        bad = [name for name in operations if name.startswith(_FORBIDDEN)]
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
