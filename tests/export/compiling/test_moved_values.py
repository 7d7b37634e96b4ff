"""What the planner says that a layer moves, against graphs of sizes that it was not fitted to."""

from __future__ import annotations

from typing import Any, Final

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports
from export.compiling.compile import canonicalize
from export.compiling.recompute import LEVELS, recompute
from export.compiling.simplify import eliminate_dead_tensors
from export.compiling.trace import sample_inputs, trace
from export.model.graft import Graft
from export.model.step import build_step
from export.planning.cost_model import moved_values
from export.planning.sizes import Sizes
from export.provenance import inherited, place_of
from export.source.families import FAMILIES, BackboneSizes

WIDTH, INNER, HEADS, SEQUENCE, BATCH = 96, 224, 6, 20, 2
MIDDLE: Final = 1
"""Of three layers: the first is not differentiated, behind the last one there is no other."""
aten, qd = torch.ops.aten, torch.ops.quantized_decomposed
NOT_MOVED: Final = {
    *(aten.linear.default, aten.bmm.default, aten.reshape.default),
    *(qd.choose_qparams.tensor, qd.dequantize_per_tensor.tensor, qd.dequantize_per_channel.default),
}
"""Products have a rate of their own; the others happen inside of them or are none."""


def _model(family: str) -> torch.nn.Module:
    import transformers

    sizes: dict[str, Any] = {
        "vocab_size": 50, "hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": HEADS,
        "intermediate_size": INNER, "max_position_embeddings": SEQUENCE + 2,
    }  # fmt: skip
    if family == "bert":
        model = transformers.BertModel(transformers.BertConfig(**sizes))
    else:
        model = transformers.LlamaModel(transformers.LlamaConfig(**sizes, num_key_value_heads=HEADS))
    for parameter in model.parameters():
        parameter.requires_grad_(requires_grad=False)
    return model.eval()


def _graph(family: str, level: str) -> GraphModule:
    model = ModelShape(BankShape((0, 1, 2), 2, 2, 0, WIDTH, 3))
    method = MethodShape(MethodKind.TRAIN, 1, 1, SEQUENCE, BATCH, BATCH)
    graft = Graft(_model(family), FAMILIES[family], (0, 1, 2), quantize_embedding=True)
    module = trace(build_step(graft, model, method), sample_inputs(input_ports(model, method)))
    canonicalize(module, Quantization.INT8)
    with inherited(module):
        recompute(module, level, WIDTH)
    eliminate_dead_tensors(module)
    return module


def _bytes(node: Node) -> int:
    result = node.meta.get("val")
    return result.numel() * result.element_size() if isinstance(result, Tensor) else 0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_layer_moves_what_the_planner_says(family: str, level: str) -> None:
    """Operands read and results written for one token by the middle layer, its experts aside: within a twentieth.

    Where whole layers are computed again, the first forward is that of a layer which nothing is kept of.
    """
    in_graphs = {False: 0, True: 0}
    for node in _graph(family, level).graph.nodes:
        place = place_of(node)
        if node.op == "call_function" and node.target not in NOT_MOVED and place.layer == MIDDLE:
            moved = _bytes(node) + sum(_bytes(source) for source in node.all_input_nodes)
            in_graphs[place.backward] += moved if place.kind != "experts" else 0
    sizes = Sizes(
        BackboneSizes(WIDTH, 3, INNER, HEADS, HEADS, WIDTH // HEADS, 512, 50, gated=family == "llama"),
        ModelShape(BankShape((0, 1, 2), 2, 2, 0, WIDTH, 3)),
    )
    there, back = moved_values(sizes, SEQUENCE, level)
    tokens = 4 * BATCH * SEQUENCE
    assert there + back == pytest.approx(sum(in_graphs.values()) / tokens, rel=0.05)
    if level == "layers":
        assert there == pytest.approx(in_graphs[False] / tokens, rel=0.05)
