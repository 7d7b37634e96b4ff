"""Cut a traced graph where the trainable part begins: below it nothing depends on anything but text and lower experts.

Axes: R rows, S places of a row, N = R*S places, d width.

The cut is found in the graph and not in a model's code, so it is the same for every family: a value that only token
ids, experts of layers that are not trained, where texts stand, and constants lead to is the same for a text in every
epoch. Two such values are read by the rest: the input of the feed-forward in the lowest layer that is trained (its
experts read it), and the sum that the experts' output is added to (residual and frozen feed-forward). So that layer
costs its experts only, and nothing below is run again.
"""

from __future__ import annotations

from typing import Final

import torch
from torch.fx import Graph, GraphModule, Node

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.program_interface import BOUNDARY, MethodShape, ModelShape, input_ports
from export.compiling.simplify import value
from export.errors import LoweringError
from export.shapes import uncut

aten = torch.ops.aten
_MOVES: Final = {
    *(aten.view.default, aten._unsafe_view.default, aten.reshape.default),  # noqa: SLF001 - the operator's name
    *(aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default),
    *(aten.permute.default, aten.t.default, aten.transpose.int, aten.expand.default),
    *(aten.detach.default, aten.alias.default, aten.clone.default),
}
"""Operations that compute nothing: the rest repeats them instead of taking their results as inputs."""


_BELOW: Final = (ports.IDS, ports.LOWER_EXPERTS, ports.LOWER_SHARED)
"""Inputs that lead to what is below the cut, and to nothing else."""


def above_cut(module: GraphModule, model: ModelShape, method: MethodShape) -> GraphModule:
    """Return the graph of a method that takes ``prefix`` and ``residual`` [R, S, d] in place of what leads to them.

    Before: ``ids, lower experts -> layers below -> prefix, residual -> experts, layers above``.
    After: ``prefix, residual -> experts, layers above``.

    Args:
        module: the traced method that takes ids (``uncut(method, model)``); changed.
        model: sizes.
        method: the method to make.

    Raises:
        LoweringError: when the graph has no such cut.
    """
    inputs = _inputs(module.graph, model, uncut(method, model))
    ends = _boundary(module.graph, inputs)
    shape = (method.rows, method.sequence, model.bank.width)
    for name, node in ends.items():
        with module.graph.inserting_before(inputs[ports.IDS]):
            placeholder = module.graph.placeholder(name)
        placeholder.meta["val"] = torch.empty(shape, device="meta")
        with module.graph.inserting_after(node):
            view = module.graph.call_function(aten.reshape.default, (placeholder, list(value(node).shape)))
        view.meta["val"] = torch.empty(tuple(value(node).shape), device="meta")
        node.replace_all_uses_with(view)
    module.graph.eliminate_dead_code()
    for name in _BELOW:
        if name in inputs:
            module.graph.erase_node(inputs[name])
    module.recompile()
    return module


def below_cut(module: GraphModule, model: ModelShape, method: MethodShape) -> GraphModule:
    """Return the graph of the trunk: lower experts, ids, positions, attend -> ``prefix``, ``residual`` [R, S, d].

    Before: ``ids, lower experts -> layers below -> prefix, residual -> experts, layers above``.
    After: ``ids, lower experts -> layers below -> prefix, residual``.

    Args:
        module: a traced method that takes ids, of the trunk's rows and places (``uncut(method, model)``); changed.
        model: sizes.
        method: the trunk.

    Raises:
        LoweringError: when the graph has no such cut.
    """
    inputs = _inputs(module.graph, model, uncut(method, model))
    ends = _boundary(module.graph, inputs)
    graph, shape = module.graph, [method.rows, method.sequence, model.bank.width]
    output = graph.output_node()
    results = []
    for name in BOUNDARY:
        with graph.inserting_before(output):
            view = graph.call_function(aten.reshape.default, (ends[name], shape))
        view.meta["val"] = torch.empty(shape, device="meta")
        results.append(view)
    output.args = (tuple(results),)
    graph.eliminate_dead_code()
    kept = {port.name for port in input_ports(model, method)}
    for name, node in inputs.items():
        if name not in kept:
            graph.erase_node(node)
    module.recompile()
    return module


def _inputs(graph: Graph, model: ModelShape, method: MethodShape) -> dict[str, Node]:
    names = [port.name for port in input_ports(model, method)]
    return dict(zip(names, [node for node in graph.nodes if node.op == "placeholder"], strict=True))


def _boundary(graph: Graph, inputs: dict[str, Node]) -> dict[str, Node]:
    """Return the two nodes below the cut that nodes above it read, by the name of their port."""
    below = _text_only(graph, inputs)
    residual = _sum_first(graph, below)
    ends = {_unmoved(node) for node in below if any(user not in below for user in node.users) and node.op != "output"}
    others = ends - {residual}
    if residual is None or len(others) != 1 or any(value(node).dtype != torch.float32 for node in ends):
        raise LoweringError(
            f"no prefix can be cut off this model: {len(ends)} values lead from the layers below into the trained"
            " part, expected 2 (the feed-forward's input, and one residual sum); export it without a trunk"
        ).about("trunk")
    return {ports.PREFIX: others.pop(), ports.RESIDUAL: residual}


def _text_only(graph: Graph, inputs: dict[str, Node]) -> set[Node]:
    """Return the nodes that ids and lower experts lead to, and no other input but those that say where texts stand."""
    begin = {inputs[name] for name in _BELOW if name in inputs}
    texts = set(begin)
    # From these and constants only: both sides compute it.
    neutral = {inputs[name] for name in (ports.POSITIONS, ports.ATTEND, ports.MASK) if name in inputs}
    for node in graph.nodes:
        if node.op not in ("call_function", "get_attr"):
            continue
        sources = set(node.all_input_nodes)
        if sources <= neutral:
            neutral.add(node)
        elif sources <= neutral | texts:
            texts.add(node)
    return texts - begin


def _sum_first(graph: Graph, below: set[Node]) -> Node | None:
    """Turn (feed-forward + experts) + residual into (feed-forward + residual) + experts; return the new sum.

    Then one value goes over the cut where there were two.
    """
    for node in graph.nodes:
        split = _split_sum(node, below)
        if split is None:
            continue
        fed, experts = split
        (user,) = node.users if len(node.users) == 1 else (None,)
        outer = _split_sum(user, below) if user is not None else None
        if user is None or outer is None:
            continue
        with graph.inserting_before(user):
            total = graph.call_function(aten.add.Tensor, (fed, outer[0]))
        total.meta["val"] = user.meta["val"]
        user.args = (total, experts)
        graph.erase_node(node)
        below.discard(node)
        below.add(total)
        return total
    return None


def _split_sum(node: Node, below: set[Node]) -> tuple[Node, Node] | None:
    """Return the terms (below the cut, above it) when ``node`` is such a sum."""
    if node.target != aten.add.Tensor or node.kwargs or node in below:
        return None
    terms = [term for term in node.args if isinstance(term, Node)]
    low, high = [term for term in terms if term in below], [term for term in terms if term not in below]
    return (low[0], high[0]) if len(low) == len(high) == 1 else None


def _unmoved(node: Node) -> Node:
    while node.target in _MOVES:
        (node,) = node.all_input_nodes
    return node
