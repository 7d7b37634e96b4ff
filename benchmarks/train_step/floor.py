"""The floor: only the frozen int8 matrix products that our step must run, forward and backward, as one program.

They are read from the traced graph of the step itself, without dead ones, and strung together: each takes the newest
tensor of its shape, products that share an input share it (and its quantization) here, too. Nothing else is left: no
attention, no norm, no expert, no optimizer. Axes: N rows (tokens of the batch), I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import MethodShape, ModelShape, input_ports
from export.compiling.lowering import lower
from export.compiling.quantize import lower_frozen_linears
from export.compiling.simplify import eliminate_common_subexpressions, eliminate_dead_tensors, fold_constants, value
from export.compiling.trace import sample_inputs, trace
from export.model.frozen import frozen_linear
from export.model.graft import Graft
from export.model.step import build_step
from export.source import backbone as backbones

METHOD = "floor"
_SAME_ROWS = ("aten.view", "aten._unsafe_view", "aten.reshape", "aten.detach", "aten.alias", "aten.clone")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Product:
    """One frozen matrix product [N, I] x [I, O]. Args: source: the same for products that read the same tensor."""

    rows: int
    weight: Tensor
    transposed: Tensor
    bias: Tensor | None
    source: str


def step_graph(model: ModelShape, method: MethodShape, adapted: tuple[int, ...]) -> GraphModule:
    """Trace our training step of the default backbone."""
    info = backbones.find(None)
    graft = Graft(backbones.load(info), info.family, adapted, quantize_embedding=True)
    return trace(build_step(graft, model, method), sample_inputs(input_ports(model, method)))


def products(module: GraphModule) -> list[Product]:
    """Return the frozen products of a traced step, in its order, without those whose result nobody reads."""
    module.graph.eliminate_dead_code()
    target = torch.ops.edge_experts.frozen_linear.default
    return [
        _product(module, node)
        for node in module.graph.nodes
        if node.op == "call_function" and node.target == target and not node.args[4]
    ]


def _product(module: GraphModule, node: Node) -> Product:
    def tensor(argument: object) -> Tensor:
        assert isinstance(argument, Node)  # noqa: S101 - for the type checker
        attribute: Tensor = getattr(module, str(argument.target))
        return attribute.detach()

    x, weight, transposed, bias, _ = node.args
    shape = value(node).shape
    rows = shape.numel() // shape[-1]
    return Product(rows, tensor(weight), tensor(transposed), None if bias is None else tensor(bias), _source(x))


def _source(node: object) -> str:
    while isinstance(node, Node) and str(node.target).startswith(_SAME_ROWS):
        node = node.args[0]
    return str(node)


def chained(chain: Sequence[Product]) -> tuple[GraphModule, tuple[Tensor, ...]]:
    """Return the graph that strings the products together, and its inputs; what nobody reads is an output."""
    shapes: list[tuple[int, int]] = []

    def floor(*inputs: Tensor) -> tuple[Tensor, ...]:
        newest = {tuple(tensor.shape): tensor for tensor in inputs}
        sources: dict[str, Tensor] = {}
        unread: list[Tensor] = []
        for product in chain:
            x = sources.setdefault(product.source, newest[product.rows, product.weight.shape[1]])
            unread = [tensor for tensor in unread if tensor is not x]
            output = frozen_linear(x, product.weight, product.transposed, product.bias, False)  # noqa: FBT003
            newest[tuple(output.shape)] = output
            unread.append(output)
        return tuple(unread)

    produced: set[tuple[int, int]] = set()
    for product in chain:
        shape = (product.rows, product.weight.shape[1])
        if shape not in produced and shape not in shapes:
            shapes.append(shape)
        produced.add((product.rows, product.weight.shape[0]))
    inputs = tuple(torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.5 for shape in shapes)
    return trace(floor, inputs), inputs


def lowered(chain: Sequence[Product], say: Say) -> tuple[bytes, tuple[Tensor, ...]]:
    """Return the program's bytes and its inputs.

    Outputs are written where the caller wants them: to copy them would not be the floor.
    """
    module, inputs = chained(chain)
    fold_constants(module)
    lower_frozen_linears(module, Quantization.INT8)
    eliminate_common_subexpressions(module)
    eliminate_dead_tensors(module)
    return lower({METHOD: (module, inputs)}, say, plan_outputs=False).data, inputs
