"""How much memory a graph's results need at a time, when its operations run in order and free what is read no more.

Counted as XNNPACK runs a delegate: what passes in and out lies elsewhere, a quantized activation is its int8 values,
and an elementwise operation may write over an operand that dies with it. A packing of real buffers needs a bit more.
"""

from __future__ import annotations

import math
import operator
from typing import Final

from torch import Tensor
from torch.fx import Graph, Node

_IN_PLACE: Final = (
    *("aten.add.", "aten.sub.", "aten.mul.", "aten.div.", "aten.neg.", "aten.exp.", "aten.log.", "aten.sqrt."),
    *("aten.rsqrt.", "aten.gelu.", "aten.sigmoid.", "aten.tanh.", "aten.clamp.", "aten.view_copy.", "aten.reshape."),
)
_ALIAS: Final = "quantized_decomposed.dequantize_per_tensor"
_NOTHING: Final = ("quantized_decomposed.choose_qparams", "quantized_decomposed.dequantize_per_channel")


def peak_bytes(graph: Graph) -> int:
    """Return the most bytes of results that live at a time, inputs, constants and outputs aside."""
    nodes = [node for node in graph.nodes if node.op == "call_function"]
    outside = set(graph.output_node().all_input_nodes)
    last: dict[Node, int] = {}
    for place, node in enumerate(nodes):
        for source in node.all_input_nodes:
            last[_owner(source)] = place
    dies: dict[int, list[Node]] = {}
    for node, place in last.items():
        dies.setdefault(place, []).append(node)
    sizes = {node: 0 if node in outside else _bytes(node) for node in nodes}
    live = peak = 0
    for place, node in enumerate(nodes):
        freed = sum(sizes.get(one, 0) for one in dies.get(place, ()))
        before = min(freed, sizes[node]) if _name(node).startswith(_IN_PLACE) else 0
        live += sizes[node] if node in last or node in outside else 0
        peak = max(peak, live - before)
        live -= freed
    return peak


def _owner(node: Node) -> Node:
    """Return whose memory a node reads: a dequantized activation is never written out."""
    while node.op == "call_function" and _name(node).startswith(_ALIAS):
        node = node.all_input_nodes[0]
    return node


def _bytes(node: Node) -> int:
    if _name(node).startswith((_ALIAS, *_NOTHING)) or node.target == operator.getitem:
        return 0
    result = node.meta.get("val")
    return math.prod(result.shape) * result.element_size() if isinstance(result, Tensor) else 0


def _name(node: Node) -> str:
    """Return an operation's name, before it is lowered and after: ``aten.add.Tensor``."""
    name = str(node.target)
    return str(getattr(node.target, "__name__", name)) if name.startswith("<") else name
