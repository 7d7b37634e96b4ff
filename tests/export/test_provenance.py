"""Every node of a traced step says where it comes from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from torch.fx import GraphModule

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports
from export.compiling.compile import canonicalize
from export.compiling.trace import sample_inputs, trace
from export.model.graft import Graft
from export.model.step import build_step
from export.provenance import NOWHERE, Place, place_of
from export.source import backbone

MODEL = ModelShape(BankShape((0, 1), 3, 4, 3, 32, 5))
TRAIN = MethodShape(MethodKind.TRAIN, 2, 1, 12, 4, 6)


@pytest.fixture(scope="module")
def module(tiny: Path) -> GraphModule:
    """Return the rewritten int8 graph of a step with experts in layers 1 and 2 of 3."""
    info = backbone.find(str(tiny))
    graft = Graft(backbone.load(info), info.family, (1, 2), quantize_embedding=True)
    module = trace(build_step(graft, MODEL, TRAIN), sample_inputs(input_ports(MODEL, TRAIN)))
    canonicalize(module, Quantization.INT8)
    return module


def _places(module: GraphModule, word: str) -> Counter[Place]:
    calls = [node for node in module.graph.nodes if node.op == "call_function" and word in str(node.target)]
    return Counter(place_of(node) for node in calls)


def test_layers_and_kinds_are_those_of_the_model(module: GraphModule) -> None:
    """A BERT layer has one softmax in its attention, two norms, four frozen linears before and two after the first.

    The head has a softmax and a reciprocal root, too: its loss and its unit features; AdamW has one of its correction.
    """
    attended = {Place("attention", layer): 1 for layer in (0, 1, 2)}
    assert _places(module, "softmax") == {**attended, Place("head"): 1}
    normed = {Place("norms", layer): 2 for layer in (0, 1, 2)}
    assert _places(module, "rsqrt") == {**normed, Place("embedding"): 1, Place("head"): 1, Place("optimizer"): 1}
    linears = _places(module, "dequantize_per_channel")
    assert [linears[Place("attention", layer)] for layer in (0, 1, 2)] == [4, 4, 4]
    assert [linears[Place("feed-forward", layer)] for layer in (0, 1, 2)] == [2, 2, 2]


def test_backward_has_the_layers_and_kinds_of_its_forward(module: GraphModule) -> None:
    """The lowest adapted layer is 1: below its experts nothing is differentiated, nor the feed-forward beside them."""
    linears = _places(module, "dequantize_per_channel")
    assert [linears[Place("feed-forward", layer, backward=True)] for layer in (0, 1, 2)] == [0, 0, 2]
    assert [linears[Place("attention", layer, backward=True)] for layer in (0, 1, 2)] == [0, 0, 4]


def test_experts_head_and_optimizer_are_told_apart(module: GraphModule) -> None:
    """One sigmoid for each bank of experts, one logarithm in the loss, a root for each of three blocks of AdamW."""
    assert _places(module, "sigmoid") == {Place("experts", 1): 1, Place("experts", 2): 1}
    assert _places(module, "log.") == {Place("head"): 1}
    assert _places(module, "aten.sqrt") == {Place("optimizer"): 3}


def test_no_operation_comes_from_nowhere(module: GraphModule) -> None:
    """Passes that replace nodes hand down where they came from; what is left over is shared by the whole step."""
    lost = [node.name for node in module.graph.nodes if node.op == "call_function" and place_of(node) == NOWHERE]
    assert len(lost) < 0.05 * len(module.graph.nodes)
