"""Where a method's memory and work go: by layer and by kind of operation, read from its graph before it is lowered.

Counted for each operation: multiply-accumulates (linears and products of two run-time matrices), bytes moved (operands
read and results written, as if no cache held them), and bytes kept for the backward. Plain values, so that the cache
can store them with the program.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from export.compiling.explained import FIGURES
from export.compiling.quantize import RESTORED
from export.compiling.recompute import kept
from export.provenance import Place, place_of

aten = torch.ops.aten
qd = torch.ops.quantized_decomposed
_FREE: Final = {
    qd.choose_qparams.tensor,
    qd.dequantize_per_tensor.tensor,
    *RESTORED,
    torch.ops.aten.reshape.default,
}
"""Run inside other operations, or move nothing."""
Figures = dict[str, int]


def explain(module: GraphModule) -> dict[str, Any]:
    """Return the figures of a rewritten graph.

    Returns:
        ``parts``: for each layer, kind and direction (``forward``, ``backward``) its ``FIGURES``; layer -1 is none.
    """
    sums: dict[tuple[int, str, str], Figures] = defaultdict(lambda: dict.fromkeys(FIGURES, 0))
    stay = set(kept(module.graph))
    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        figures = sums[_key(place_of(node))]
        for name, value in _of_node(node).items():
            figures[name] += value
        figures["kept_bytes"] += _bytes(node) if node in stay else 0
    for place, size in _weights(module):
        sums[_key(place)]["weight_bytes"] += size
    parts = [
        {"layer": layer, "kind": kind, "direction": way, **figures} for (layer, kind, way), figures in sums.items()
    ]
    return {"parts": sorted(parts, key=lambda part: (part["layer"], part["kind"], part["direction"]))}


def _key(place: Place) -> tuple[int, str, str]:
    layer = -1 if place.layer is None else place.layer
    return layer, place.kind, "backward" if place.backward else "forward"


def _of_node(node: Node) -> Figures:
    macs = _macs(node)
    quantized = node.target == aten.linear.default and _is_dequantized(node.args[1])
    moved = 0 if node.target in _FREE else _bytes(node) + sum(_bytes(source) for source in node.all_input_nodes)
    counted = 0 if node.target in _FREE or not isinstance(node.meta.get("val"), Tensor) else 1
    return {
        "int8_macs": macs if quantized else 0,
        "fp32_macs": 0 if quantized else macs,
        "moved_bytes": moved,
        "operations": counted,
    }


def _macs(node: Node) -> int:
    if node.target not in (aten.linear.default, aten.bmm.default):
        return 0
    inner = node.args[1] if node.target == aten.linear.default else node.args[0]
    assert isinstance(inner, Node)  # noqa: S101 - both take two tensors
    stored = inner.all_input_nodes[0] if _is_dequantized(inner) else inner
    return int(math.prod(node.meta["val"].shape) * stored.meta["val"].shape[-1])


def _is_dequantized(argument: object) -> bool:
    return isinstance(argument, Node) and argument.target in RESTORED


def _bytes(node: Node) -> int:
    tensor = node.meta.get("val")
    if _is_dequantized(node):  # read as the int8 that it stands for
        return _bytes(node.all_input_nodes[0])
    return math.prod(tensor.shape) * tensor.element_size() if isinstance(tensor, Tensor) else 0


def _stored(node: Node) -> int:
    """Return the bytes of a constant in the file: there two levels of 4 bits share a byte, and scales are bfloat16.

    The zero points of such a weight are all the same, and are not stored.
    """
    groups = [user for user in node.users if user.target == qd.dequantize_per_channel_group.default]
    if not groups:
        return _bytes(node)
    return 0 if groups[0].args[2] is node else _bytes(node) // 2


def _weights(module: GraphModule) -> Iterable[tuple[Place, int]]:
    """Yield every stored tensor once, with the place of its first reader."""
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for node in module.graph.nodes:
        if node.op != "get_attr" or not node.users:
            continue
        tensor = node.meta["val"]
        key = tensor.data_ptr(), tuple(tensor.shape)
        if key not in seen:
            seen.add(key)
            yield place_of(next(iter(node.users))), _stored(node)
