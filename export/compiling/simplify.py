"""Bring a traced graph into XNNPACK's vocabulary, before it is exported.

XNNPACK has no sum, no squeeze, no select, and multiplies run-time tensors only as ``bmm``. What stays outside a
delegate costs a crossing, and a portable ``mm`` costs two orders of magnitude. Each rule below replaces one node by an
equal one; the result of a graph never changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

aten = torch.ops.aten
_CAT_LIMIT: Final = 5
_NO_OPS: Final = {aten.detach.default, aten.alias.default, aten.lift_fresh_copy.default, aten.clone.default}
"""A lowered graph has no views, so it needs no clone to be safe from one."""


def value(node: Node) -> Tensor:
    """Return the tensor (real, fake or meta) that tracing recorded for a node."""
    tensor = node.meta["val"]
    assert isinstance(tensor, Tensor)  # noqa: S101 - a promised type
    return tensor


class Editor:
    """Writes nodes and constants into a graph, and keeps their recorded values right."""

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self.graph: Graph = module.graph
        self._constants: dict[tuple[Any, ...], str] = {}

    def constant(self, tensor: Tensor, key: tuple[Any, ...] | None = None) -> Node:
        """Add a constant; one with the same ``key`` is stored once."""
        name = self._constants.get(key) if key is not None else None
        if name is None:
            name = f"constant_{len(dict(self.module.named_buffers(recurse=False)))}"
            self.module.register_buffer(name, tensor)
            self._constants[key if key is not None else (name,)] = name
        node = self.graph.get_attr(name)
        node.meta["val"] = tensor
        return node

    def scalar(self, number: float) -> Node:
        """Add a constant of one float32 element, shape [1]."""
        return self.constant(torch.tensor([number], dtype=torch.float32), ("scalar", float(number)))

    def call(self, target: Any, *args: Any, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Node:  # noqa: ANN401
        """Add a call whose result has ``shape``."""
        node = self.graph.call_function(target, args)
        node.meta["val"] = torch.empty(shape, dtype=dtype, device="meta")
        return node

    def view(self, node: Node, shape: tuple[int, ...]) -> Node:
        """Reshape; a reshape of a reshape is one. ``reshape`` and not ``view``, since tensors here may be strided."""
        if node.target == aten.reshape.default:
            node = _source(node)
        if tuple(value(node).shape) == shape:
            return node
        return self.call(aten.reshape.default, node, list(shape), shape=shape, dtype=value(node).dtype)


def fold_constants(module: GraphModule) -> None:
    """Compute every node that depends on no input, and keep the result as a constant.

    Before: ``a = constant; b = a + 1; c = x * b``.
    After: ``b = constant; c = x * b``.
    """
    constants: dict[Node, Tensor] = {}
    editor = Editor(module)
    for node in list(module.graph.nodes):
        if node.op == "get_attr":
            constants[node] = _attribute(module, str(node.target))
            node.meta["val"] = constants[node]
        elif node.op == "call_function" and _computable(node, constants):
            args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda n: constants[n])
            result = node.target(*args, **kwargs)
            if isinstance(result, Tensor):
                constants[node] = result
                with module.graph.inserting_before(node):
                    fixed = editor.constant(result)
                constants[fixed] = result
                node.replace_all_uses_with(fixed)
    module.graph.eliminate_dead_code()


def eliminate_common_subexpressions(module: GraphModule) -> None:
    """Keep one of nodes that compute the same from the same: reshapes, and the quantization of q, k and v's input.

    Before: ``a = quantize(x); b = quantize(x); q = linear(a); k = linear(b)``.
    After: ``a = quantize(x); q = linear(a); k = linear(a)``.
    """
    first: dict[tuple[Any, ...], Node] = {}
    for node in list(module.graph.nodes):
        if node.op not in ("call_function", "get_attr"):
            continue
        key = (node.op, node.target, _frozen(node.args), _frozen(tuple(sorted(node.kwargs.items()))))
        twin = first.setdefault(key, node)
        if twin is not node:
            node.replace_all_uses_with(twin)
            module.graph.erase_node(node)
    module.recompile()


def _frozen(value: Any) -> Any:  # noqa: ANN401 - any argument of a node
    return tuple(_frozen(part) for part in value) if isinstance(value, (list, tuple)) else (type(value), value)


def eliminate_dead_tensors(module: GraphModule) -> None:
    """Delete tensors that the graph does not read: the originals of quantized weights would stay in the file.

    Before: module attributes ``weight`` and ``weight_int8``, of which nodes read ``weight_int8``.
    After: ``weight_int8`` alone; the nodes are the same.
    """
    read = {str(node.target).split(".")[0] for node in module.graph.nodes if node.op == "get_attr"}
    for name in [name for name, _ in module.named_buffers()] + [name for name, _ in module.named_parameters()]:
        if name.split(".")[0] not in read and "." not in name:
            delattr(module, name)
    for name in [name for name, _ in module.named_children() if name not in read]:
        delattr(module, name)
    plain = [name for name, held in vars(module).items() if isinstance(held, Tensor) and name not in read]
    for name in plain:
        delattr(module, name)
    module.recompile()


def _computable(node: Node, constants: dict[Node, Tensor]) -> bool:
    return isinstance(node.meta.get("val"), Tensor) and all(source in constants for source in node.all_input_nodes)


def _attribute(module: GraphModule, path: str) -> Tensor:
    attribute: Any = module
    for part in path.split("."):
        attribute = getattr(attribute, part)
    assert isinstance(attribute, Tensor)  # noqa: S101 - only tensors are lifted
    return attribute.detach()


def simplify(module: GraphModule) -> None:
    """Apply every rule once, in graph order, and drop what nothing reads.

    Before: ``sum(x, -1)``, ``x.view(..).unsqueeze(0)``, ``x * 2.0``, ``x.detach()``.
    After: ``linear(x, ones)``, ``reshape(x, ..)``, ``x * constant``, ``x``.
    """
    editor = Editor(module)
    for node in list(module.graph.nodes):
        if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor):
            continue
        rule = _RULES.get(node.target)
        with module.graph.inserting_before(node):
            new = node.args[0] if node.target in _NO_OPS else rule(editor, node) if rule else None
        if isinstance(new, Node) and new is not node:
            node.replace_all_uses_with(new)
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()


Rule = Callable[[Editor, Node], Node | None]


def _same_values(editor: Editor, node: Node) -> Node:
    return editor.view(_source(node), tuple(value(node).shape))


def _source(node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)  # noqa: S101 - the first argument of every ruled operation is a tensor
    return source


def _expand(editor: Editor, node: Node) -> Node | None:
    """Drop a broadcast that the reader does itself, or that changes nothing."""
    if value(_source(node)).numel() == value(node).numel():
        return _same_values(editor, node)
    if all(user.target in _BROADCASTING for user in node.users) and value(_source(node)).dim() == value(node).dim():
        return _source(node)
    return None


def _select(editor: Editor, node: Node) -> Node:
    """x[:, i] as a slice and a view."""
    source, axis, index = node.args
    assert isinstance(source, Node)  # noqa: S101
    size = list(value(source).shape)
    place = int(axis) % len(size)  # type: ignore[arg-type]
    start = int(index) % size[place]  # type: ignore[arg-type]
    size[place] = 1
    cut = editor.call(aten.slice.Tensor, source, place, start, start + 1, shape=tuple(size), dtype=value(source).dtype)
    return editor.view(cut, tuple(value(node).shape))


def _permute(editor: Editor, node: Node) -> Node | None:
    """A permutation of a permutation is one; that of an identity is none."""
    source, order = _source(node), list(node.args[1])  # type: ignore[arg-type]
    if source.target == aten.permute.default:
        inner: Any = source.args[1]
        source, order = _source(source), [inner[axis] for axis in order]
    if order == sorted(order):
        return source
    return editor.call(aten.permute.default, source, order, shape=tuple(value(node).shape))


def _slice(editor: Editor, node: Node) -> Node | None:
    del editor
    return _source(node) if value(_source(node)).shape == value(node).shape else None


def _sum(editor: Editor, node: Node) -> Node | None:
    """Sum over leading or trailing axes as a GEMM with a constant row of ones (leading: of the transpose)."""
    source = _source(node)
    shape = tuple(value(source).shape)
    dims: Any = node.args[1]
    axes = sorted(int(axis) % len(shape) for axis in dims or range(len(shape)))
    width = math.prod(shape[axis] for axis in axes)
    rows = math.prod(shape) // width
    if axes == [len(shape) - 1]:
        flat = source
    elif axes == list(range(len(shape) - len(axes), len(shape))):
        flat = editor.view(source, (rows, width))
    elif axes == list(range(len(axes))):
        flat = editor.call(aten.permute.default, editor.view(source, (width, rows)), [1, 0], shape=(rows, width))
    else:
        return None
    scale = 1.0 / width if node.target == aten.mean.dim else 1.0
    row = editor.constant(torch.full((1, width), scale), ("row", width, scale))
    total = editor.call(aten.linear.default, flat, row, shape=(*value(flat).shape[:-1], 1))
    return editor.view(total, tuple(value(node).shape))


def _scalar_product(editor: Editor, node: Node) -> Node:
    factor = float(node.args[1])  # type: ignore[arg-type]
    number = 1.0 / factor if node.target == aten.div.Scalar else factor
    return editor.call(aten.mul.Tensor, _source(node), editor.scalar(number), shape=tuple(value(node).shape))


def _power(editor: Editor, node: Node) -> Node | None:
    """A small whole power as products."""
    power = node.args[1]
    if power not in (2, 3):
        return None
    shape = tuple(value(node).shape)
    square = editor.call(aten.mul.Tensor, _source(node), _source(node), shape=shape)
    return square if power == 2 else editor.call(aten.mul.Tensor, square, _source(node), shape=shape)


def _filled(editor: Editor, node: Node) -> Node:
    """full_like and its kin do not depend on their argument's values."""
    fills: dict[Any, float] = {aten.ones_like.default: 1.0, aten.zeros_like.default: 0.0}
    fill = fills[node.target] if node.target in fills else float(node.args[1])  # type: ignore[arg-type]
    like = value(node)
    return editor.constant(torch.full(tuple(like.shape), fill, dtype=like.dtype), ("full", tuple(like.shape), fill))


def _number_operand(editor: Editor, node: Node) -> Node | None:
    """Write a Python number as a float32 constant: XNNPACK takes tensors only."""
    left, right = node.args[:2]
    if (isinstance(left, Node) and isinstance(right, Node)) or value(node).dtype != torch.float32 or node.kwargs:
        return None
    target = node.target
    if target == aten.div.Tensor and not isinstance(right, Node):
        target, right = aten.mul.Tensor, 1.0 / float(right)  # type: ignore[arg-type]
    operands = [side if isinstance(side, Node) else editor.scalar(float(side)) for side in (left, right)]  # type: ignore[arg-type]
    return editor.call(target, *operands, shape=tuple(value(node).shape))


def _reversed(editor: Editor, node: Node) -> Node:
    """Number minus tensor."""
    number = editor.scalar(float(node.args[1]))  # type: ignore[arg-type]
    return editor.call(aten.sub.Tensor, number, _source(node), shape=tuple(value(node).shape))


def _cat(editor: Editor, node: Node) -> Node | None:
    """XNNPACK joins at most five tensors at a time; one alone is joined already."""
    parts: list[Node] = list(node.args[0])  # type: ignore[arg-type]
    if len(parts) == 1:
        return parts[0]
    axis: Any = node.args[1] if len(node.args) > 1 else 0
    if len(parts) <= _CAT_LIMIT:
        return None
    while len(parts) > 1:
        groups = [parts[place : place + _CAT_LIMIT] for place in range(0, len(parts), _CAT_LIMIT)]
        parts = [_join(editor, group, int(axis)) if len(group) > 1 else group[0] for group in groups]
    return parts[0]


def _add(editor: Editor, node: Node) -> Node | None:
    """Halves of a tensor that were each put into zeros and added are joined instead (rotary positions, backward)."""
    plain = _number_operand(editor, node)
    if plain is not None or node.kwargs:
        return plain
    for half, rest in (node.args[:2], node.args[1::-1]):
        if not _placed(half):
            continue
        if _placed(rest):
            return _halves(editor, half, rest)
        if not (isinstance(rest, Node) and rest.target == aten.add.Tensor and len(rest.users) == 1):
            continue
        for other, remaining in (rest.args[:2], rest.args[1::-1]):
            joined = _halves(editor, half, other) if _placed(other) else None
            if joined is not None:
                return editor.call(aten.add.Tensor, remaining, joined, shape=tuple(value(node).shape))
    return None


def _placed(node: Any) -> bool:  # noqa: ANN401 - any argument of a node
    """Return whether a node is a tensor put into one of zeros."""
    if not (isinstance(node, Node) and node.target == aten.slice_scatter.default):
        return False
    source = value(_source(node))
    return source.device.type != "meta" and _source(node).op == "get_attr" and not bool(source.any())


def _halves(editor: Editor, one: Any, other: Any) -> Node | None:  # noqa: ANN401
    """Join two placed tensors that fill an axis together."""
    first, second = sorted((one, other), key=lambda node: int(node.args[3]))
    axis, size = int(first.args[2]), value(first).shape[int(first.args[2])]
    ends = int(first.args[3]), int(first.args[4]), int(second.args[3]), min(int(second.args[4]), size)
    if int(second.args[2]) != axis or ends != (0, ends[1], ends[1], size):
        return None
    return editor.call(aten.cat.default, [first.args[1], second.args[1]], axis, shape=tuple(value(first).shape))


def _join(editor: Editor, group: list[Node], axis: int) -> Node:
    shape = list(value(group[0]).shape)
    shape[axis] = sum(value(part).shape[axis] for part in group)
    return editor.call(aten.cat.default, list(group), axis, shape=tuple(shape))


def _cast(editor: Editor, node: Node) -> Node | None:
    del editor
    return _source(node) if value(_source(node)).dtype == value(node).dtype else None


_BROADCASTING: Final = {aten.mul.Tensor, aten.add.Tensor, aten.sub.Tensor, aten.div.Tensor}
_RULES: Final[dict[Any, Rule]] = {
    aten.view.default: _same_values,
    aten._unsafe_view.default: _same_values,  # noqa: SLF001 - the operator's name
    aten.unsqueeze.default: _same_values,
    aten.squeeze.dim: _same_values,
    aten.squeeze.dims: _same_values,
    aten.squeeze.default: _same_values,
    aten.expand.default: _expand,
    aten.permute.default: _permute,
    aten.select.int: _select,
    aten.slice.Tensor: _slice,
    aten.sum.dim_IntList: _sum,
    aten.mean.dim: _sum,
    aten.mul.Scalar: _scalar_product,
    aten.div.Scalar: _scalar_product,
    aten.pow.Tensor_Scalar: _power,
    aten.full_like.default: _filled,
    aten.ones_like.default: _filled,
    aten.zeros_like.default: _filled,
    aten.mul.Tensor: _number_operand,
    aten.add.Tensor: _add,
    aten.sub.Tensor: _number_operand,
    aten.div.Tensor: _number_operand,
    aten.rsub.Scalar: _reversed,
    aten.cat.default: _cat,
    aten._to_copy.default: _cast,  # noqa: SLF001 - the operator's name
}
