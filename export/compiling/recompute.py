"""Recomputation: what the backward reads is computed again, just before it is read, instead of kept.

A training step keeps activations from the forward to the backward, for every layer at once. Computed again from the
few that stay, they live in one layer's backward only. The results do not change: the same operations on the same
values.

Which tensors stay is a minimum cut (Jain et al., arXiv 1910.02653, and the partitioner of torch.compile): of all sets
from which everything that the backward reads can be computed again, the one of fewest bytes. The level says what may be
computed twice:

    none    views only (two forms of one tensor would both be kept)
    light   all but the frozen linears: norms, attention probabilities, experts
    layers  all but the last frozen linear of each layer, which makes the residual stream: one tensor stays a layer
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import networkx as nx
import torch
import torch.ao.quantization.fx._decomposed
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from export.compiling.quantize import RESTORED
from export.compiling.simplify import Editor, value
from export.provenance import KEY, place_of

aten = torch.ops.aten
qd = torch.ops.quantized_decomposed
LEVELS: Final = ("none", "light", "layers")
_SMALL: Final = 8
"""A tensor below this part of the residual stream stays: to compute it again would cost more operations than bytes."""
_SCALE: Final = 2**20
"""Weight of a byte in the cut; below it, the later of two equal tensors is preferred: the one that is read."""
_VIEWS: Final = {aten.reshape.default, aten.permute.default, aten.slice.Tensor}
_QUANTIZING: Final = {
    qd.choose_qparams.tensor,
    qd.quantize_per_tensor.tensor,
    qd.dequantize_per_tensor.tensor,
    *RESTORED,
}
"""Parts of a quantized linear's pattern: they are never kept, the linear that they belong to is whole."""
_AGAIN: Final = {
    *_VIEWS,
    *_QUANTIZING,
    *(aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.neg.default, aten.cat.default),
    *(aten.bmm.default, aten.linear.default, aten._softmax.default, aten.gelu.default),  # noqa: SLF001 - a name
    *(aten.sigmoid.default, aten.tanh.default, aten.exp.default, aten.log.default),
    *(aten.sqrt.default, aten.rsqrt.default, aten.clamp.default),
    *(aten.maximum.default, aten.minimum.default),
}
"""Operations that XNNPACK runs; another one in the backward would cut its delegate in two."""


def recompute(module: GraphModule, level: str, width: int) -> None:
    """Let the backward of a canonical graph read what is computed again.

    Before: ``y = norm(x); ...; dx = backward(dy, y)``.
    After: ``y = norm(x); ...; again = norm(x); dx = backward(dy, again)``.

    Args:
        module: with the places of its nodes (``provenance``); nothing after this may merge equal nodes.
        level: ``none``, ``light`` or ``layers``.
        width: d; the residual stream's tensors are the largest ones of this last axis.
    """
    forward = [node for node in module.graph.nodes if node.op == "call_function" and _is_forward(node)]
    read = {node for node in forward if any(_reads_late(user) for user in node.users)}
    if not read:
        return
    stream = max((_bytes(node) for node in forward if _bytes(node) and value(node).shape[-1] == width), default=0)
    again = {node for node in forward if _may(node, level)} - _ends_of_layers(forward, level)
    lost = _lost(forward, read, again, stream / _SMALL)
    _Copier(module, lost).run()
    module.graph.eliminate_dead_code()
    module.recompile()


def kept(graph: Graph) -> list[Node]:
    """Return the tensors that a graph keeps from its forward for its backward."""
    nodes = [node for node in graph.nodes if node.op == "call_function" and _is_forward(node) and _bytes(node)]
    return [node for node in nodes if any(_reads_late(user) for user in node.users)]


def _is_forward(node: Node) -> bool:
    place = place_of(node)
    return not place.backward and place.kind != "optimizer"


def _reads_late(node: Node) -> bool:
    return node.op == "call_function" and place_of(node).backward


def _bytes(node: Node) -> int:
    """Return the size of a tensor; 0 for what is none."""
    tensor = node.meta.get("val")
    return math.prod(tensor.shape) * tensor.element_size() if isinstance(tensor, Tensor) else 0


def _may(node: Node, level: str) -> bool:
    """Return whether a level may compute a node twice."""
    if level == "none":
        return node.target == aten.reshape.default
    if node.target == operator.getitem:
        return node.all_input_nodes[0].target in _QUANTIZING
    return node.target in _AGAIN and (level == "layers" or not _is_frozen_linear(node))


def _is_frozen_linear(node: Node) -> bool:
    if node.target != aten.linear.default:
        return False
    weight = node.args[1]
    assert isinstance(weight, Node)  # noqa: S101 - a linear has one
    dense = weight.op == "get_attr" and min(value(weight).shape) > 1  # not a row of ones, which sums
    return bool(dense or weight.target in RESTORED)


def _ends_of_layers(forward: Iterable[Node], level: str) -> set[Node]:
    """Return each layer's last frozen linear, which no level repeats."""
    if level != "layers":
        return set()
    last = {place_of(node).layer: node for node in forward if _is_frozen_linear(node)}
    return set(last.values())


def _lost(forward: list[Node], read: set[Node], again: set[Node], small: float) -> set[Node]:
    """Return the nodes that do not stay: everything behind the minimum cut."""
    net: Any = nx.DiGraph()
    inside = set(forward)
    for order, node in enumerate(forward):
        size = _bytes(node)
        if size and node.target not in _QUANTIZING:
            net.add_edge((node, 0), (node, 1), capacity=_SCALE * (size if size > small else 1) - order)
        else:
            net.add_edge((node, 0), (node, 1))  # no capacity means an infinite one
        if node not in again:
            net.add_edge("kept", (node, 0))
        if node in read:
            net.add_edge((node, 1), "read")
        for source in node.all_input_nodes if node in again else ():
            if source in inside:
                net.add_edge((source, 1), (node, 0))
    _, (_, behind) = nx.minimum_cut(net, "kept", "read")
    return {node for node in forward if (node, 0) in behind}


class _Copier:
    """Writes the second computation of lost nodes into the backward, each just before its first reader there."""

    def __init__(self, module: GraphModule, lost: set[Node]) -> None:
        self._editor = Editor(module)
        self._lost = lost
        self._copies: dict[Node, Node] = {}

    def run(self) -> None:
        """Redirect every reader of the backward."""
        for node in list(self._editor.graph.nodes):
            if _reads_late(node) and any(source in self._lost for source in node.all_input_nodes):
                with self._editor.graph.inserting_before(node):
                    torch.fx.node.map_arg((node.args, node.kwargs), self._copied)
                node.args = torch.fx.node.map_arg(node.args, self._known)
                node.kwargs = torch.fx.node.map_arg(node.kwargs, self._known)

    def _known(self, node: Node) -> Node:
        return self._copies.get(node, node)

    def _copied(self, node: Node) -> Node:
        if node not in self._lost:
            return node
        if node not in self._copies:
            for source in node.all_input_nodes:
                self._copied(source)
            self._copies[node] = self._copy(node)
        return self._copies[node]

    def _copy(self, node: Node) -> Node:
        return self._marked(self._editor.graph.node_copy(node, self._known), node)

    def _marked(self, copy: Node, original: Node) -> Node:
        copy.meta[KEY] = replace(place_of(original), backward=True)
        return copy
