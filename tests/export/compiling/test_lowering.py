"""What XNNPACK takes is divided among as few delegates as there can be, and none waits for itself."""

from __future__ import annotations

import torch
from torch.fx import Graph, Node

from export.compiling.lowering import stages


def strands() -> tuple[Graph, list[Node]]:
    """Return a graph a -> b -> c -> d with a second way around b: a -> e -> d."""
    graph = Graph()
    a = graph.call_function(torch.neg, (graph.placeholder("x"),))
    b = graph.call_function(torch.abs, (a,))
    c = graph.call_function(torch.neg, (b,))
    e = graph.call_function(torch.exp, (a,))
    d = graph.call_function(torch.add, (c, e))
    graph.output((d,))
    return graph, [a, b, c, d, e]


def test_what_the_backend_takes_whole_is_one_delegate() -> None:
    """Without a node outside there is one, in the graph's order."""
    graph, (a, b, c, d, e) = strands()
    assert stages(graph, [[e], [d], [c, b], [a]]) == [[a, b, c, e, d]]


def test_a_node_outside_divides_what_it_needs_from_what_needs_it() -> None:
    """The node b stays outside: c and d wait for it; e does not, and goes with a."""
    graph, (a, _, c, d, e) = strands()
    assert stages(graph, [[a], [c], [e], [d]]) == [[a, e], [c, d]]


def test_nodes_of_a_group_stay_together() -> None:
    """A group is where its last member can be at the earliest; what needs it is not before."""
    graph, (a, _, c, d, e) = strands()
    assert stages(graph, [[a], [c, e], [d]]) == [[a], [c, e, d]]


def test_a_node_outside_that_needs_no_delegate_divides_nothing() -> None:
    """An embedding's lookup before everything else does not make a second delegate."""
    graph, (a, b, c, d, e) = strands()
    assert stages(graph, [[b], [c], [d], [e]]) == [[b, c, e, d]]
    assert a not in stages(graph, [[b], [c], [d], [e]])[0]
    assert stages(graph, []) == []
