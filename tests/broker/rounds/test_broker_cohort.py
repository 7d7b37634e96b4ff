"""A round for a part of those that are ready: drawn anew each time, topped up when it waits once more."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.config import GatewayConfig
from broker_server.config_tables import RoundRules
from broker_server.errors import UsageError
from broker_server.rules.round import State
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic

NAMES = ("a", "b", "c", "d", "e", "f")
RULES = RoundRules(quorum=2, cohort=2, join_wait_s=0, deadline_s=50.0)


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


def ready(tmp_path: Path, package: Any, rules: RoundRules = RULES, rounds: int = 0) -> Gateway:
    """Return a gateway with six devices, whose draws are those of one seed."""
    gateway = Gateway(tmp_path / "state", package, rounds=rounds, round=rules, chance=random.Random(1))
    gateway.hello(*NAMES)
    gateway.tick()
    return gateway


def planned(gateway: Gateway) -> list[str]:
    """Return whom the last round planned for."""
    return sorted(gateway.conductor.status.plans)


def answer(gateway: Gateway, *devices: str) -> None:
    """Let devices send their deltas."""
    for device in devices:
        gateway.train(device)
        assert gateway.verdict(device).code == pb.ACCEPTED


def bye(gateway: Gateway, *devices: str) -> None:
    """Let devices leave."""
    for device in devices:
        gateway.send(Topic.BYE, device, encode(pb.Bye(device=device)))


def test_each_round_draws_its_own(tmp_path: Path, package: Any) -> None:
    """Two of six take part in a round, and in six rounds at least four do."""
    gateway, times = ready(tmp_path, package, rounds=6), dict.fromkeys(NAMES, 0)
    while gateway.conductor.state is not State.FINISHED:
        assert len(planned(gateway)) == 2
        for device in planned(gateway):
            times[device] += 1
        answer(gateway, *planned(gateway))
        for _ in range(2):
            gateway.tick()
    assert gateway.conductor.row.version == 6
    assert sum(times.values()) == 12
    assert sum(count > 0 for count in times.values()) >= 4


def test_those_that_are_left_are_drawn_where_some_did_not_answer(tmp_path: Path, package: Any) -> None:
    """One of two answers and the other leaves: one more is drawn, and the round closes with its delta."""
    gateway = ready(tmp_path, package)
    stays, leaves = planned(gateway)
    answer(gateway, stays)
    bye(gateway, leaves)
    gateway.tick()
    assert gateway.conductor.status.extensions == 1
    (drawn,) = set(planned(gateway)) - {stays, leaves}
    answer(gateway, drawn)
    gateway.tick()
    assert gateway.conductor.row.version == 1
    assert gateway.conductor.row.contributors == 2


def test_a_deadline_draws_as_many_as_did_not_answer(tmp_path: Path, package: Any) -> None:
    """Neither of two answers in time: two others are drawn, and the two that are slow count when they come."""
    gateway = ready(tmp_path, package)
    slow = planned(gateway)
    gateway.now += 50.0
    gateway.tick()
    assert len(planned(gateway)) == 4
    answer(gateway, *slow)
    assert gateway.conductor.status.answered == set(slow)


def test_who_has_no_room_is_not_drawn_for_ever(tmp_path: Path, package: Any) -> None:
    """Two leave, and whoever else is drawn may send no byte: the round draws each of them once, then waits."""
    gateway = Gateway(tmp_path / "state", package, rounds=0, round=RULES, chance=random.Random(1))
    gateway.hello("a", "b")
    gateway.tick()
    for device in NAMES[2:]:
        gateway.send(Topic.HELLO, device, encode(tiny.hello(package, device, bytes_up_per_round=1)))
    bye(gateway, "a", "b")
    for _ in range(20):
        gateway.tick()
    assert planned(gateway) == ["a", "b"]
    assert gateway.conductor.status.passed_over == set(NAMES[2:])
    assert gateway.conductor.status.extensions <= len(NAMES[2:])


def test_rounds_keep_their_distance(tmp_path: Path, package: Any) -> None:
    """The first round closes seconds after it opened; the second opens a hundred after the first, and no sooner."""
    gateway = ready(tmp_path, package, RoundRules(quorum=2, cohort=2, join_wait_s=0, every_s=100.0))
    opened_at = gateway.now
    answer(gateway, *planned(gateway))
    while gateway.conductor.round < 2:
        gateway.tick()
        assert gateway.now < opened_at + 200.0
    assert gateway.conductor.row.version == 1
    assert gateway.now == opened_at + 100.0


def test_a_buffer_has_a_cohort_at_work(tmp_path: Path, package: Any) -> None:
    """Two of six have a plan at a time: each that answers or leaves makes room for one more, whoever is drawn."""
    rules = RoundRules(quorum=2, cohort=2, buffer=3, join_wait_s=0, max_staleness=5, deadline_s=1000.0)
    gateway, seen = ready(tmp_path, package, rules), set[str]()
    for turn in range(9):
        at_work = sorted(gateway.conductor.status.awaited)
        assert len(at_work) == 2
        seen |= set(at_work)
        payload = gateway.conductor.status.plans[at_work[turn % 2]]
        plan = pb.Plan.FromString(payload)
        gateway.deliver(plan.device, encode(tiny.delta(plan, payload, value=0.01)))
        for _ in range(3):
            gateway.tick()
    assert len(seen) >= 4
    assert gateway.conductor.row.version == 3
    left, _ = sorted(gateway.conductor.status.awaited)
    bye(gateway, left)
    gateway.tick()
    assert len(set(gateway.conductor.status.awaited) - {left}) == 2


@pytest.mark.parametrize(("cohort", "fits"), [(0, True), (1, False), (2, True), (-1, False)])
def test_a_cohort_is_a_quorum_at_least(tmp_path: Path, cohort: int, *, fits: bool) -> None:
    """With fewer a round could never close; the text says what is expected."""
    rules = RoundRules(quorum=2, cohort=cohort)
    if fits:
        GatewayConfig(tmp_path, round=rules)
        return
    with pytest.raises(UsageError, match="expected 2 or more, or 0 for all"):
        GatewayConfig(tmp_path, round=rules)
