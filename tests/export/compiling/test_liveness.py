"""What lives at a time in graphs small enough to count by hand."""

from __future__ import annotations

import torch
from torch.fx import Graph, Node

from export.compiling.liveness import peak_bytes

aten = torch.ops.aten


def _call(graph: Graph, target: object, *args: object, size: int) -> Node:
    node = graph.call_function(target, args)  # type: ignore[arg-type]
    node.meta["val"] = torch.empty(size, dtype=torch.float32, device="meta")
    return node


def test_results_live_from_their_making_to_their_last_reader() -> None:
    """Softmax writes beside its operand: 100 + 100 floats while it runs; the first is gone when the small one comes."""
    graph = Graph()
    x = graph.placeholder("x")
    first = _call(graph, aten.permute.default, x, size=100)
    second = _call(graph, aten._softmax.default, first, size=100)
    third = _call(graph, aten.linear.default, second, x, size=10)
    graph.output((_call(graph, aten._softmax.default, third, size=10),))
    assert peak_bytes(graph) == 4 * 200


def test_an_elementwise_operation_writes_over_what_dies_with_it() -> None:
    """X + x in place of its operand needs no second buffer; with a later reader of the operand it does."""
    for later, wanted in ((False, 4 * 101), (True, 4 * 201)):  # the linear's one float stands beside its operands
        graph = Graph()
        x = graph.placeholder("x")
        first = _call(graph, aten.permute.default, x, size=100)
        second = _call(graph, aten.add.Tensor, first, first, size=100)
        small = _call(graph, aten.linear.default, second, first if later else x, size=1)
        graph.output((_call(graph, aten.neg.default, small, size=1),))
        assert peak_bytes(graph) == wanted


def test_inputs_and_outputs_lie_elsewhere() -> None:
    """One operation from an input to an output needs nothing of its own."""
    graph = Graph()
    x = graph.placeholder("x")
    graph.output((_call(graph, aten.neg.default, x, size=1000),))
    assert peak_bytes(graph) == 0
