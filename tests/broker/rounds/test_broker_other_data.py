"""Devices that come with other data than the head was made from: no plan until a head has their sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.config_tables import RoundRules, Train
from broker_server.rules.round import State
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import split
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic

RED, GREEN, BLUE = 0, 1, 2
ABSENT = -100.0
"""Bias of a label that nobody has: -5 logit scales of 20."""


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


@pytest.fixture
def gateway(tmp_path: Path, package: Any) -> Gateway:
    """Return a gateway in its first round with a (red, green) and b (red): nobody has blue."""
    return opened(Gateway(tmp_path / "state", package))


def opened(gateway: Gateway) -> Gateway:
    """Let a (red, green) and b (red) join, and the first round open."""
    gateway.statistics("a", gateway.hello_with("a", ["rose", "leaf"], [RED, GREEN]))
    gateway.statistics("b", gateway.hello_with("b", ["rose"], [RED]))
    gateway.tick()
    assert gateway.conductor.state is State.OPEN
    return gateway


def biases(gateway: Gateway) -> list[float]:
    """Return the head's bias of red, green and blue."""
    return [float(bias) for bias in gateway.conductor.bank.head[-3:]]


def told(gateway: Gateway, kind: str, **fields: object) -> list[dict[str, Any]]:
    """Return the events of a kind with these fields."""
    return [one for one in gateway.told if one["event"] == kind and fields.items() <= one.items()]


def test_the_plan_is_taken_back_before_the_device_is_welcomed(gateway: Gateway) -> None:
    """A device trains once it is a member: the empty plan comes first; the event says whose plan it was."""
    before = len(gateway.out.sent)
    gateway.hello_with("b", ["sky"], [BLUE])
    (topic, name, payload), (answer, _, _) = gateway.out.sent[before:]
    assert (topic, name, payload) == (Topic.PLAN, "b", b"")
    assert answer is Topic.VERDICT
    assert gateway.verdict("b").want_statistics
    assert [one["device"] for one in told(gateway, "withdrawn")] == ["b"]


def test_the_same_data_keep_their_plan(gateway: Gateway) -> None:
    """A hello after a lost connection takes nothing back."""
    gateway.hello_with("b", ["rose"], [RED])
    assert gateway.out.last(Topic.PLAN, "b") == gateway.plan("b")[1]
    assert told(gateway, "withdrawn") == []


def test_another_plan_comes_from_a_head_that_has_the_new_sums(gateway: Gateway) -> None:
    """In the same round when its quorum needs the device, from a version whose head knows blue."""
    assert biases(gateway) == [0.0, 0.0, ABSENT]
    old = gateway.plan("b")[0]
    body = gateway.hello_with("b", ["sky"], [BLUE])
    gateway.train("a")
    gateway.tick()
    assert gateway.out.last(Topic.PLAN, "b") == b""
    gateway.statistics("b", body)
    gateway.tick()
    plan = gateway.plan("b")[0]
    assert gateway.out.last(Topic.PLAN, "b") == gateway.plan("b")[1]
    assert (plan.round, plan.base_version) == (old.round, old.base_version + 1)
    assert biases(gateway) == [0.0, 0.0, 0.0]
    gateway.train("b")
    gateway.tick()
    (line,) = told(gateway, "version", reason="merge")
    assert (line["accepted"], line["withdrawn"], line["extensions"]) == (2, 1, 1)


def test_a_round_that_has_its_quorum_does_not_wait(tmp_path: Path, package: Any) -> None:
    """The device takes part in the next round, with a head that has its sums."""
    gateway = opened(Gateway(tmp_path / "state", package, round=RoundRules(quorum=1, join_wait_s=0)))
    body = gateway.hello_with("b", ["sky"], [BLUE])
    gateway.train("a")
    gateway.tick()
    assert len(told(gateway, "version", reason="merge")) == 1
    gateway.statistics("b", body)
    gateway.tick()
    assert gateway.plan("b")[0].round == 2
    assert biases(gateway) == [0.0, 0.0, 0.0]


def test_a_delta_that_was_finished_on_the_old_data_counts(gateway: Gateway) -> None:
    """It was trained on the data that its plan was made for; the device then gets no other plan in this round."""
    plan, payload = gateway.plan("b")
    gateway.statistics("b", gateway.hello_with("b", ["sky"], [BLUE]))
    delta = encode(tiny.delta(plan, payload))
    for chunk in split(delta, pb.DELTA):
        gateway.send(Topic.DELTA, "b", chunk)
    assert (gateway.verdict("b").code, gateway.verdict("b").digest) == (pb.ACCEPTED, sha256(delta))
    gateway.train("a")
    gateway.tick()
    assert told(gateway, "version", reason="merge")[0]["accepted"] == 2


def test_a_plan_that_another_replaced_is_unknown(gateway: Gateway) -> None:
    """Two deltas of one device in a round would count twice."""
    plan, payload = gateway.plan("b")
    body = gateway.hello_with("b", ["sky"], [BLUE])
    gateway.train("a")
    gateway.statistics("b", body)
    gateway.tick()
    for chunk in split(encode(tiny.delta(plan, payload)), pb.DELTA):
        gateway.send(Topic.DELTA, "b", chunk)
    assert gateway.verdict("b").code == pb.UNKNOWN_PLAN


def test_a_restarted_gateway_does_not_give_the_plan_again(gateway: Gateway) -> None:
    """What the ledger has of the last hello and of the head is enough to know."""
    gateway.hello_with("b", ["sky"], [BLUE])
    gateway.close()
    again = Gateway(gateway.config.state, gateway.package)
    again.conductor.announce()
    assert again.out.last(Topic.PLAN, "a") == again.plan("a")[1]
    assert again.out.last(Topic.PLAN, "b") == b""
    again.close()


def test_labels_that_nobody_has_any_more_are_told_of(gateway: Gateway) -> None:
    """Device a had the only green text: its new sums take green out of the head, and the event counts it."""
    body = gateway.hello_with("a", ["sky"], [BLUE])
    gateway.train("b")
    gateway.statistics("a", body)
    gateway.tick()
    assert biases(gateway) == [0.0, ABSENT, 0.0]
    assert [one["labels_lost"] for one in told(gateway, "version", reason="head")] == [0, 1]


def test_a_newcomer_whose_sums_did_not_come_is_not_planned_for(tmp_path: Path, package: Any) -> None:
    """Neither when its grace is over nor when a round is extended; with its sums it is, from a head that has them."""
    rules = RoundRules(quorum=2, deadline_s=100, join_wait_s=0, grace_s=30)
    gateway = opened(Gateway(tmp_path / "state", package, round=rules))
    body = gateway.hello_with("c", ["sky"], [BLUE])
    gateway.now += 100
    gateway.tick()
    assert told(gateway, "extended")[-1]["devices"] == {}
    gateway.statistics("c", body)
    gateway.now += 100
    gateway.tick()
    assert list(told(gateway, "extended")[-1]["devices"]) == ["c"]
    assert biases(gateway) == [0.0, 0.0, 0.0]


def test_a_trained_head_gets_the_rows_of_new_labels_only(tmp_path: Path, package: Any) -> None:
    """Blue's row is the class mean of its sums; what was trained of red and green keeps its bits."""
    gateway = opened(Gateway(tmp_path / "state", package, train=Train(learning_rate=0.1, head_share=0.1)))
    body = gateway.hello_with("b", ["sky"], [BLUE])
    gateway.train("a", value=0.001, label_counts=[1.0, 1.0, 0.0])
    before = gateway.conductor.bank.head
    gateway.statistics("b", body)
    gateway.tick()
    head = gateway.conductor.bank.head
    assert head[:8].tobytes() == before[:8].tobytes()
    assert head[-3:].tolist() == [0.0, 0.0, 0.0]
    # Features rose, leaf and sky, one text each: sky minus their mean is (-1, -1, 2, 0) / 3, of length sqrt(6) / 3.
    np.testing.assert_allclose(head[8:12], np.array([-1, -1, 2, 0]) / np.sqrt(6), atol=1e-6)


def test_another_plan_has_other_bytes_though_the_head_stays(tmp_path: Path, package: Any) -> None:
    """A device that gave a plan up never takes the same bytes again; here no label is new, and the head is trained."""
    gateway = opened(Gateway(tmp_path / "state", package, train=Train(learning_rate=0.1, head_share=0.1)))
    old, old_bytes = gateway.plan("b")
    body = gateway.hello_with("b", ["leaf"], [GREEN])
    gateway.train("a", value=0.001, label_counts=[1.0, 1.0, 0.0])
    gateway.statistics("b", body)
    gateway.tick()
    plan, plan_bytes = gateway.plan("b")
    assert plan.base_version == old.base_version
    assert gateway.out.last(Topic.PLAN, "b") == plan_bytes != old_bytes
    assert plan.seed != old.seed


def test_a_device_that_the_planner_has_no_work_for_extends_once(gateway: Gateway) -> None:
    """Its uplink has no room for an expert: the round waits for its deadline, and does not extend at every tick."""
    body = encode(tiny.statistics(gateway.package, "b", ["sky"], [BLUE]))
    hello = tiny.hello(gateway.package, "b", statistics_digest=sha256(body), bytes_up_per_round=10)
    gateway.send(Topic.HELLO, "b", encode(hello))
    gateway.train("a")
    gateway.statistics("b", body)
    for _ in range(3):
        gateway.tick()
    assert len(told(gateway, "extended")) == 1
