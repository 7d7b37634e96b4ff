"""Frozen linears become what XNNPACK takes: float32, or int8 or 4-bit weights with activations quantized at run time.

Axes: O outputs, I inputs. The forward's W and the backward's W^T are quantized each along its own output channel (the
idea of SwitchBack, arXiv 2304.13013): int8 for activations and input gradients, float32 for the little that is
trained. XNNPACK quantizes activations row by row (a scale and a zero point for each token), whatever the pattern in the
graph says. 4-bit weights have a scale for each group of inputs (``blockwise``); activations stay int8.
"""

from __future__ import annotations

import operator
from collections import Counter

import torch
import torch.ao.quantization.fx._decomposed
from torch import Tensor
from torch.fx import GraphModule, Node

from edge_runtime.wire.manifest_checks import Quantization
from export.compiling.blockwise import HIGHEST, LOWEST, fits, quantize_groups, restore_groups
from export.compiling.simplify import Editor, value
from export.model.frozen import quantize_weight
from export.provenance import place_of
from export.shapes import GROUP

aten = torch.ops.aten
qd = torch.ops.quantized_decomposed
RESTORED = (qd.dequantize_per_channel.default, qd.dequantize_per_channel_group.default)
"""What a rounded weight is read through: int8, and 4 bits in groups."""
_TINY_SCALE = 1.1920928955078125e-07
_NO_ZERO_ROW = 1e-20
"""Added to a gradient before a 4-bit GEMM, far below its resolution. XNNPACK gives a row of zeros, as the gradient of
padding is, the scale 1, and sums its zero point's part over groups in float32: up to 2e-3 instead of 0, where gradients
are 1e-6 (with int8 weights that sum is of integers, and exact)."""


def fake_quantized(weight: Tensor, *, int4: bool = False) -> Tensor:
    """Return the float32 values that the rounded weight [O, I] stands for: int8, or 4-bit where its inputs divide."""
    if int4 and fits(weight):
        return restore_groups(*quantize_groups(weight))
    levels, scales = quantize_weight(weight)
    return levels.to(torch.float32) * scales[:, None]


def lower_frozen_linears(module: GraphModule, quantize: Quantization) -> dict[str, int]:
    """Replace every frozen linear of a traced graph.

    Before: ``frozen_linear(x, w)``.
    After: ``linear(dequantize(quantize(x)), dequantize(levels, scales))``; with ``NONE`` and where it is exact,
    ``linear(x, w)``.

    Args:
        module: a traced graph.
        quantize: how weights are rounded; ``INT4`` where the inputs divide into groups, and never a language model's
            head, as its rounding reaches the probabilities directly: these are int8.

    Returns:
        How many became float32, int8 and int4; the sums over constant rows are not counted.
    """
    counts: Counter[str] = Counter()
    editor = Editor(module)
    target = torch.ops.edge_experts.frozen_linear.default
    for node in list(module.graph.nodes):
        if node.op != "call_function" or node.target != target:
            continue
        x, weight, _, bias, exact = node.args
        with module.graph.inserting_before(node):
            kind = "float32" if exact or quantize == Quantization.NONE else "int8"
            grouped = quantize == Quantization.INT4 and place_of(node).kind != "head"
            if kind == "int8" and grouped and fits(value(weight)):
                kind = "int4"
            if kind == "int4" and place_of(node).backward:
                x = editor.call(aten.add.Tensor, x, editor.scalar(_NO_ZERO_ROW), shape=tuple(value(x).shape))
            operands = (x, weight) if kind == "float32" else _dynamic(editor, x, weight, int4=kind == "int4")
            counts[kind] += not exact
            if bias is not None:
                operands = (*operands, bias)
            new = editor.call(aten.linear.default, *operands, shape=tuple(value(node).shape))
        node.replace_all_uses_with(new)
        module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return dict(counts)


def _dynamic(editor: Editor, x: Node, weight: Node, *, int4: bool) -> tuple[Node, Node]:
    """Return the dequantized activation and weight of XNNPACK's dynamic pattern."""
    tensor = value(weight)
    key = tensor.data_ptr(), tuple(tensor.shape)
    levels, scales = quantize_groups(tensor) if int4 else quantize_weight(tensor)
    zeros = torch.zeros_like(scales, dtype=torch.int64)
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
    if int4:
        group = (LOWEST, HIGHEST, torch.int8, GROUP, torch.float32)
        return restored, call(qd.dequantize_per_channel_group.default, (*nodes, *group))
    dense = call(qd.dequantize_per_channel.default, (*nodes, 0, -127, 127, torch.int8))
    return restored, dense
