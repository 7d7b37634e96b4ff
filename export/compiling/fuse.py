"""Give frozen linears what stands beside them in a traced graph: a pass over a tensor of tokens becomes none.

Axes: O outputs, I inputs. Three rules, after ``simplify`` and before ``lower_frozen_linears``; the result of a graph
never changes:

- a product with one number goes into the weight (and bias) of the linear that made the tensor, or of the one that
  takes it, through any reshapes and permutations between;
- two constants that are added one after another are added at export;
- a row that is added to every token beside looked-up rows (token types beside positions) is added to the table.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from export.compiling.simplify import Editor, value
from export.model.frozen import FROZEN_LINEAR

aten = torch.ops.aten
_MOVES: Final = (aten.reshape.default, aten.permute.default)


def fuse(module: GraphModule) -> None:
    """Apply every rule everywhere.

    Before: ``linear(x, w, b) * 0.125``, ``(x + constant) + constant``, ``(x + row) + table[positions]``.
    After: ``linear(x, 0.125 w, 0.125 b)``, ``x + constant``, ``x + (table + row)[positions]``.
    """
    editor = Editor(module)
    for node in list(module.graph.nodes):
        if node.target == aten.mul.Tensor:
            _fold_number(editor, node)
        elif node.target == aten.add.Tensor and not node.kwargs:
            _fold_constants(editor, node)
            _fold_row(editor, node)
    module.graph.eliminate_dead_code()
    module.recompile()


def _fold_number(editor: Editor, node: Node) -> None:
    for tensor, factor in (node.args, node.args[::-1]):
        number = _constant(factor)
        if not isinstance(tensor, Node) or number is None or number.numel() != 1:
            continue
        if tuple(value(tensor).shape) != tuple(value(node).shape):
            continue
        linear = _maker(tensor) or _taker(node)
        if linear is not None:
            _scale(editor, linear, float(number), both=linear is _maker(tensor))
            node.replace_all_uses_with(tensor)
            editor.graph.erase_node(node)
            return


def _maker(node: Node) -> Node | None:
    """Return the quantizable linear that made ``node``, when nothing else reads it or what is between."""
    while node.target in _MOVES and len(node.users) == 1:
        node = node.args[0]  # type: ignore[assignment]
    return node if node.target == FROZEN_LINEAR and len(node.users) == 1 and not node.args[4] else None


def _taker(node: Node) -> Node | None:
    """Return the quantizable linear that alone takes ``node``."""
    while len(node.users) == 1:
        user = next(iter(node.users))
        if user.target == FROZEN_LINEAR and user.args[0] is node and not user.args[4]:
            return user
        if user.target not in _MOVES:
            return None
        node = user
    return None


def _scale(editor: Editor, linear: Node, factor: float, *, both: bool) -> None:
    """Multiply a linear's weight, and its bias if ``both``; the weight for autograd is not read any more."""
    weight, bias = linear.args[1], linear.args[3]
    with editor.graph.inserting_before(linear):
        scaled = _scaled(editor, weight, factor)
        moved = _scaled(editor, bias, factor) if both and bias is not None else bias
    linear.args = (linear.args[0], scaled, scaled, moved, linear.args[4])


def _scaled(editor: Editor, node: Any, factor: float) -> Node:  # noqa: ANN401 - an argument of a node
    tensor = _constant(node)
    assert tensor is not None  # noqa: S101 - what is frozen is a constant
    return editor.constant(tensor * factor, ("scaled", tensor.data_ptr(), tuple(tensor.shape), factor))


def _fold_constants(editor: Editor, node: Node) -> None:
    """(x + a) + b -> x + (a + b)."""
    inner, outer = _split(node)
    if inner is None or outer is None or inner.target != aten.add.Tensor or inner.kwargs or len(inner.users) != 1:
        return
    source, first = _split(inner)
    if source is None or first is None or value(source).shape != value(node).shape:
        return
    with editor.graph.inserting_before(node):
        total = editor.constant(_narrow(first) + _narrow(outer))
    node.args = (source, total)
    editor.graph.erase_node(inner)


def _fold_row(editor: Editor, node: Node) -> None:
    """(x + row) + table[positions] -> x + (table + row)[positions]."""
    for inner, lookup in (node.args[:2], node.args[1::-1]):
        if not (isinstance(inner, Node) and inner.target == aten.add.Tensor and not inner.kwargs):
            continue
        if not (isinstance(lookup, Node) and lookup.target == aten.embedding.default):
            continue
        table, (source, row) = _constant(lookup.args[0]), _split(inner)
        if table is None or source is None or row is None or max(len(inner.users), len(lookup.users)) > 1:
            continue
        row = _narrow(row)
        if row.numel() != table.shape[1] or value(source).shape != value(node).shape:
            continue
        with editor.graph.inserting_before(lookup):
            lookup.args = (editor.constant(table + row.reshape(1, -1)), *lookup.args[1:])
        node.args = (source, lookup)
        editor.graph.erase_node(inner)
        return


def _split(node: Node) -> tuple[Node | None, Tensor | None]:
    """Return the operand that is computed and the one that is constant, float32."""
    for tensor, other in (node.args[:2], node.args[1::-1]):
        constant = _constant(other)
        if (
            isinstance(tensor, Node)
            and tensor.op != "get_attr"
            and constant is not None
            and constant.dtype == torch.float32
        ):
            return tensor, constant
    return None, None


def _constant(node: Any) -> Tensor | None:  # noqa: ANN401 - any argument of a node
    """Return the tensor of a node that is a constant with known values."""
    if not (isinstance(node, Node) and node.op == "get_attr"):
        return None
    tensor = value(node)
    return tensor if tensor.device.type != "meta" else None


def _narrow(tensor: Tensor) -> Tensor:
    """Return the smallest tensor that broadcasts to this one: an expanded row is stored once."""
    for axis in range(tensor.dim()):
        first = tensor.narrow(axis, 0, 1)
        if tensor.shape[axis] > 1 and torch.equal(first.expand_as(tensor), tensor):
            tensor = first.contiguous()
    return tensor
