"""Buffered merging: when the buffer is merged, who gets a plan, and what a stale delta weighs. By hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny

from broker_server.config_tables import RoundRules
from broker_server.rules.aggregate import Contribution, merge
from broker_server.rules.buffer import Buffer, NewestPlan, idle, may_merge, overdue
from broker_server.rules.round import Event
from broker_server.rules.weights import stale_blocks
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, ExpertId

RULES = RoundRules(quorum=2, deadline_s=60.0, buffer=4)
A, B = ExpertId(0, 0), ExpertId(1, 2)


@pytest.mark.parametrize(
    ("buffer", "event"),
    [
        (Buffer(4, 0.0), Event.FULL),
        (Buffer(5, 0.0), Event.FULL),
        (Buffer(3, 59.9), None),
        (Buffer(2, 60.0), Event.DEADLINE),
        (Buffer(1, 1e9), None),
        (Buffer(1, 0.0, asked=True), Event.DEADLINE),
        (Buffer(0, 1e9, asked=True), None),
    ],
    ids=["full", "more", "too few", "its time is over", "no quorum", "a rollback", "nothing to merge"],
)
def test_the_buffer_is_merged_when_it_is_full(buffer: Buffer, event: Event | None) -> None:
    """At four deltas; after a minute with a quorum of two; before a rollback with any."""
    assert may_merge(buffer, RULES) is event


def test_a_quorum_larger_than_the_buffer_does_not_keep_it_waiting() -> None:
    """Two deltas fill it, whatever the start needs."""
    assert may_merge(Buffer(2, 0.0), RoundRules(quorum=9, buffer=2)) is Event.FULL
    assert may_merge(Buffer(1, 1e9), RoundRules(quorum=9, buffer=2)) is None


def test_who_has_nothing_to_do_gets_a_plan() -> None:
    """A has none yet, b is done, c trains, d's base is three merges old, e is not ready."""
    newest = {name: NewestPlan(1, base, 0.0, ()) for name, base in (("b", 5), ("c", 5), ("d", 2), ("e", 5))}
    assert idle("dcba", newest, {"b", "e"}, {5: 0, 2: 3}, 2) == ["a", "b", "d"]


def test_a_plan_has_its_time() -> None:
    """A minute after it went out."""
    newest = {"a": NewestPlan(1, 0, 10.0, ()), "b": NewestPlan(2, 0, 11.0, ())}
    assert overdue(newest, "ab", 70.0, RULES) == {"a"}


def test_staleness_is_counted_for_each_expert() -> None:
    """Of three merges since its base the first and the last moved A, none moved B; of a forgotten one both may be."""
    assert stale_blocks([A, B], [{A}, set(), {A, HEAD}]) == {A: 2, B: 0}
    assert stale_blocks([A, B], [{A}, None]) == {A: 2, B: 1}
    assert stale_blocks([A, B], []) == {A: 0, B: 0}


def flat(block: ExpertId, value: float) -> np.ndarray:
    """Return a block of one value."""
    return np.full(tiny.SHAPE.size(block), value, np.float32)


def test_a_stale_delta_counts_less_where_its_expert_moved() -> None:
    """Both have n = 6. A moved 3 times since: weights 6 and 6 / sqrt(4) = 3, so (6 x 1 + 3 x 4) / 9 = 2.

    B never moved since, so there the late device counts in full: (6 x 1 + 6 x 4) / 12 = 2.5.
    """
    zeros = Bank.from_blocks(tiny.SHAPE, {block: flat(block, 0.0) for block in tiny.SHAPE.ids()})
    fresh = Contribution("a", 9, 6, 0, {A: flat(A, 1.0), B: flat(B, 1.0)})
    late = Contribution("b", 5, 6, 0, {A: flat(A, 4.0), B: flat(B, 4.0)}, stale={A: 3, B: 0})
    after = merge(zeros, [fresh, late], topk=False)
    assert after.block(A) == pytest.approx(2.0)
    assert after.block(B) == pytest.approx(2.5)


def test_rows_of_a_head_are_as_stale_as_the_head() -> None:
    """Label 0 has 2 examples of a and 4 of b, whose head moved 3 times since: (2 x 1 + 2 x 5) / 4 = 3."""
    zeros = Bank.from_blocks(tiny.SHAPE, {block: flat(block, 0.0) for block in tiny.SHAPE.ids()})
    fresh = Contribution("a", 9, 6, 0, {HEAD: flat(HEAD, 1.0)}, label_counts=(2.0, 4.0, 0.0))
    late = Contribution("b", 5, 6, 0, {HEAD: flat(HEAD, 5.0)}, label_counts=(4.0, 0.0, 0.0), stale={HEAD: 3})
    head = merge(zeros, [fresh, late], topk=False).block(HEAD)
    width = tiny.WIDTH
    assert head[:width] == pytest.approx(3.0)
    assert head[width : 2 * width] == pytest.approx(1.0)
    assert not head[2 * width : 3 * width].any()
    assert 4 / math.sqrt(1 + 3) == 2.0
