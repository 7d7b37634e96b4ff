"""4-bit weights in the gateway's ONNX program: their levels as int8, one scale for each group of inputs.

Axes: O outputs, I inputs, G groups of a row.

ONNX knows blocks of a row from opset 21 on. Here a weight is stored with a row for each group, [O * G, I / G], which
``DequantizeLinear`` takes in every opset, and put into its shape behind that; runtimes do it once, when they load.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from torch import nn

from export.compiling.blockwise import fits, quantize_groups, restore_groups
from export.shapes import GROUP
from export.source.backbone import with_head

Floats = npt.NDArray[np.float32]


class Blocks:
    """The levels and scales of a backbone's linears, found again by the values that they stand for.

    Args:
        model: with its float32 weights, before they are rounded; a language head is no part of the backbone.
    """

    def __init__(self, model: nn.Module) -> None:
        backbone, _ = with_head(model)
        self._known: dict[str, tuple[npt.NDArray[np.int8], Floats]] = {}
        weights = [module.weight.data for module in backbone.modules() if isinstance(module, nn.Linear)]
        for weight in filter(fits, weights):
            levels, scales = quantize_groups(weight)
            self._known[_key(restore_groups(levels, scales).numpy())] = levels.numpy(), scales.numpy()

    def store(self, proto: onnx.ModelProto) -> None:
        """Replace each weight, as it is or transposed, by its levels and the nodes that restore it."""
        graph = proto.graph
        for place, tensor in enumerate(list(graph.initializer)):
            if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) != 2:
                continue
            values = numpy_helper.to_array(tensor)
            for turned in (False, True):
                quantized = self._known.get(_key(values.T if turned else values))
                if quantized:
                    _replace(graph, place, quantized, turned=turned)
                    break


def _key(values: Floats) -> str:
    return hashlib.sha256(repr(values.shape).encode() + np.ascontiguousarray(values).tobytes()).hexdigest()


def _replace(
    graph: onnx.GraphProto, place: int, quantized: tuple[npt.NDArray[np.int8], Floats], *, turned: bool
) -> None:
    name, (levels, scales) = graph.initializer[place].name, quantized
    graph.initializer[place].CopyFrom(numpy_helper.from_array(levels.reshape(-1, GROUP), f"{name}.int4"))
    graph.initializer.append(numpy_helper.from_array(scales.reshape(-1), f"{name}.scale"))
    graph.initializer.append(numpy_helper.from_array(np.array(levels.shape, np.int64), f"{name}.shape"))
    straight = f"{name}.straight" if turned else name
    nodes = [
        helper.make_node("DequantizeLinear", [f"{name}.int4", f"{name}.scale"], [f"{name}.groups"], axis=0),
        helper.make_node("Reshape", [f"{name}.groups", f"{name}.shape"], [straight]),
    ]
    if turned:
        nodes.append(helper.make_node("Transpose", [straight], [name], perm=[1, 0]))
    for node in reversed(nodes):
        graph.node.insert(0, node)
