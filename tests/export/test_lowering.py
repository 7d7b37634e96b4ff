"""Delegates that wait for each other are found before the compiler stumbles over them."""

from __future__ import annotations

import torch
from torch.fx import Graph, Node
from torch.fx.passes.infra.partitioner import Partition

from export.lowering import _in_a_circle


def diamond() -> tuple[Graph, list[Node]]:
    """Return a graph of one input with two strands of two nodes that cross: p1 -> q2 and q1 -> p2."""
    graph = Graph()
    x = graph.placeholder("x")
    p1, q1 = graph.call_function(torch.neg, (x,)), graph.call_function(torch.abs, (x,))
    p2, q2 = graph.call_function(torch.add, (p1, q1)), graph.call_function(torch.mul, (q1, p1))
    graph.output((p2, q2))
    return graph, [p1, q1, p2, q2]


def test_two_delegates_that_need_each_others_results_are_a_circle() -> None:
    """Each strand alone is fine, both together cannot be put in an order."""
    graph, (p1, q1, p2, q2) = diamond()
    strands = [Partition(0, [p1, p2]), Partition(1, [q1, q2])]
    assert _in_a_circle(graph, strands)
    assert not _in_a_circle(graph, strands[:1])
    assert not _in_a_circle(graph, strands[1:])


def test_delegates_in_an_order_are_no_circle() -> None:
    """First both beginnings, then both ends; or all in one; or none at all."""
    graph, (p1, q1, p2, q2) = diamond()
    assert not _in_a_circle(graph, [Partition(0, [p1, q1]), Partition(1, [p2, q2])])
    assert not _in_a_circle(graph, [Partition(0, [p1, q1, p2, q2])])
    assert not _in_a_circle(graph, [])


def test_a_circle_by_way_of_a_node_outside_is_found() -> None:
    """One delegate whose end waits for a node that waits for its beginning."""
    graph = Graph()
    x = graph.placeholder("x")
    first = graph.call_function(torch.neg, (x,))
    outside = graph.call_function(torch.abs, (first,))
    last = graph.call_function(torch.add, (first, outside))
    graph.output((last,))
    assert _in_a_circle(graph, [Partition(0, [first, last])])
