"""Frozen linears become what XNNPACK takes: float32 ``linear``, or int8 weights with activations quantized at run time.

Axes: O outputs, I inputs. The forward's W and the backward's W^T are quantized each along its own output channel (the
idea of SwitchBack, arXiv 2304.13013): int8 for activations and input gradients, float32 for the little that is
trained. XNNPACK quantizes activations row by row (a scale and a zero point for each token), whatever the pattern in the
graph says.
"""

from __future__ import annotations

import operator

import torch
import torch.ao.quantization.fx._decomposed
from torch import Tensor
from torch.fx import GraphModule, Node

from export.frozen import quantize_weight
from export.rewrite import Editor, value

aten = torch.ops.aten
qd = torch.ops.quantized_decomposed
_TINY_SCALE = 1.1920928955078125e-07


def fake_quantized(weight: Tensor) -> Tensor:
    """Return the float32 values that the int8 weight stands for."""
    levels, scales = quantize_weight(weight)
    return levels.to(torch.float32) * scales[:, None]


def lower_frozen_linears(module: GraphModule, *, int8: bool) -> None:
    """Replace every frozen linear of a traced graph."""
    editor = Editor(module)
    target = torch.ops.edge_experts.frozen_linear.default
    for node in list(module.graph.nodes):
        if node.op != "call_function" or node.target != target:
            continue
        x, weight, _, bias, exact = node.args
        with module.graph.inserting_before(node):
            operands = (x, weight) if exact or not int8 else _dynamic(editor, x, weight)
            if bias is not None:
                operands = (*operands, bias)
            new = editor.call(aten.linear.default, *operands, shape=tuple(value(node).shape))
        node.replace_all_uses_with(new)
        module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()


def _dynamic(editor: Editor, x: Node, weight: Node) -> tuple[Node, Node]:
    """Return the dequantized activation and weight of XNNPACK's dynamic pattern."""
    tensor = value(weight)
    key = tensor.data_ptr(), tuple(tensor.shape)
    levels, scales = quantize_weight(tensor)
    zeros = torch.zeros(levels.shape[0], dtype=torch.int64)
    nodes = [
        editor.constant(levels, ("levels", *key)),
        editor.constant(scales, ("scales", *key)),
        editor.constant(zeros, ("zeros", *key)),
    ]
    call = editor.graph.call_function
    limits = (-128, 127)
    chosen = call(qd.choose_qparams.tensor, (x, *limits, _TINY_SCALE, torch.int8))
    scale, zero = call(operator.getitem, (chosen, 0)), call(operator.getitem, (chosen, 1))
    quantized = call(qd.quantize_per_tensor.tensor, (x, scale, zero, *limits, torch.int8))
    restored = call(qd.dequantize_per_tensor.tensor, (quantized, scale, zero, *limits, torch.int8))
    dense = call(qd.dequantize_per_channel.default, (*nodes, 0, -127, 127, torch.int8))
    return restored, dense
