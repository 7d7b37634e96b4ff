"""Plans beside a buffer: who gets one, when, from which version, and what is replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
from buffered_gateway import PLAIN, RULES, answer, buffered, plan_of
from tiny_gateway import Gateway

from broker_server.cli import run
from broker_server.config_tables import RoundRules, Train
from broker_server.evaluation.onnx_model import Figures
from broker_server.evaluation.worker import Evaluated
from broker_server.gate_config import Gate
from broker_server.rules.round import State
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.messages import encode, ids
from edge_runtime.wire.topics import Topic


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


def test_a_device_that_answered_has_its_next_plan_at_once(tmp_path: Path, package: Any) -> None:
    """A answers first: before anything is merged it has another plan, from version 0 and with another seed."""
    gateway = buffered(tmp_path, package)
    first = answer(gateway, "a")
    second, _ = plan_of(gateway, "a")
    assert (gateway.conductor.row.version, second.base_version) == (0, 0)
    assert second.round > first.round
    assert second.seed != first.seed
    assert plan_of(gateway, "b")[0].round == first.round


def test_experts_in_training_count_as_trained(tmp_path: Path, package: Any) -> None:
    """One slot each: four devices that come one after the other get four different experts of each layer."""
    gateway = Gateway(tmp_path / "state", package, rounds=0, round=RoundRules(quorum=1, join_wait_s=0, buffer=9))
    taken = []
    for device in "abcd":
        gateway.send(Topic.HELLO, device, encode(tiny.hello(package, device, trained_slots=1)))
        gateway.tick()
        taken += [block for block in ids(plan_of(gateway, device)[0].train) if not block.shared]
    assert sorted(taken) == [ExpertId(layer, index) for layer in tiny.LAYERS for index in range(tiny.EXPERTS)]


def test_a_plan_from_a_base_that_is_too_old_is_replaced(tmp_path: Path, package: Any) -> None:
    """With a staleness of 1, after two merges c's plan is replaced by one from version 2, and its delta is refused."""
    rules = RoundRules(quorum=2, join_wait_s=0, buffer=2, max_staleness=1)
    gateway = buffered(tmp_path, package, round=rules)
    plan, payload = plan_of(gateway, "c")
    for _ in range(4):
        answer(gateway, "a")
    gateway.tick()
    assert gateway.conductor.row.version == 2
    assert plan_of(gateway, "c")[0].base_version == 2
    gateway.deliver("c", encode(tiny.delta(plan, payload)))
    assert gateway.verdict("c").code == pb.STALE


def test_a_device_that_is_silent_gets_another_plan_and_then_rests(tmp_path: Path, package: Any) -> None:
    """After deadline_s the next plan, after a second miss in a row none for as long; what it sends still counts."""
    gateway = buffered(tmp_path, package)
    plan = plan_of(gateway, "c")
    gateway.now += 1001.0
    answer(gateway, "a")
    answer(gateway, "b")
    gateway.tick()
    assert plan_of(gateway, "c")[0].round > plan[0].round
    gateway.now += 1001.0
    gateway.tick()
    assert [one["device"] for one in gateway.told if one["event"] == "rests"].count("c") == 1
    newest = plan_of(gateway, "c")
    gateway.tick()
    assert plan_of(gateway, "c") == newest
    answer(gateway, "c", plan=newest)
    gateway.tick()
    assert plan_of(gateway, "c")[0].round > newest[0].round


def test_a_newcomer_is_planned_for_at_once(tmp_path: Path, package: Any) -> None:
    """Its class sums are in the head of the version that its plan starts from."""
    gateway = buffered(tmp_path, package)
    body = gateway.hello_with("d", ["rose", "sky"], [0, 1])
    gateway.tick()
    with pytest.raises(StopIteration):
        plan_of(gateway, "d")
    gateway.statistics("d", body)
    gateway.tick()
    assert plan_of(gateway, "d")[0].base_version == gateway.conductor.row.version == 1
    assert gateway.conductor.row.reason == "head"


def test_a_device_with_other_data_loses_its_plan_until_its_sums_are_in(tmp_path: Path, package: Any) -> None:
    """Taken back at its Hello; then another, from a head that has the new sums."""
    gateway = buffered(tmp_path, package)
    old = plan_of(gateway, "a")[0]
    body = gateway.hello_with("a", ["rose"], [0])
    assert gateway.out.last(Topic.PLAN, "a") == b""
    gateway.tick()
    assert gateway.out.last(Topic.PLAN, "a") == b""
    gateway.statistics("a", body)
    gateway.tick()
    assert plan_of(gateway, "a")[0].round > old.round


def test_the_rate_falls_from_merge_to_merge(tmp_path: Path, package: Any) -> None:
    """Three merges from 0.1 to a tenth: 0.1, 0.055, 0.01, however many plans there are in between."""
    gateway = buffered(tmp_path, package, rounds=3, train=Train(learning_rate=0.1, final_share=0.1))
    rates = []
    for _ in range(3):
        gateway.tick()
        rates.append(plan_of(gateway, "a")[0].learning_rate)
        answer(gateway, "a")
        answer(gateway, "a")
    assert rates == pytest.approx([0.1, 0.055, 0.01])


def test_a_start_goes_on_with_the_same_plans(tmp_path: Path, package: Any) -> None:
    """Plans of three rounds at once, one delta in the buffer: all of it is there again, and nothing counts twice."""
    gateway = buffered(tmp_path, package)
    answer(gateway, "a")
    plans = {device: plan_of(gateway, device) for device in "abc"}
    gateway.close()
    again = Gateway(tmp_path / "state", package, rounds=0, round=RULES, limits=PLAIN)
    assert again.conductor.state is State.OPEN
    again.conductor.announce()
    assert {device: plan_of(again, device) for device in "abc"} == plans
    again.hello("a", "b", "c")
    again.tick()
    assert {device: plan_of(again, device) for device in "abc"} == plans
    answer(again, "b")
    assert (again.conductor.row.version, again.conductor.row.contributors) == (1, 2)


def test_a_rollback_merges_the_buffer_first_and_replaces_all_plans(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """What waits goes into the version that is gone back from; then everybody trains from the earlier bank."""
    gateway = buffered(tmp_path, package)
    answer(gateway, "a")
    assert run(["rollback", "0", "--state", str(tmp_path / "state")]) == 0
    capsys.readouterr()
    for _ in range(3):
        gateway.tick()
    assert [row.reason for row in gateway.store.ledger.versions()] == ["initial", "merge", "rollback"]
    assert gateway.store.ledger.waiting() == []
    assert gateway.conductor.bank.digest() == package.bank().digest()
    assert {plan_of(gateway, device)[0].base_version for device in "abc"} == {2}


def test_with_a_gate_devices_go_on_and_are_planned_for_after_the_decision(tmp_path: Path, package: Any) -> None:
    """Version 1 waits: c's delta is taken, nobody gets a plan from it; then all train from version 0 again."""
    gateway = buffered(
        tmp_path, package, gate=Gate(hold=True), evaluate=tmp_path / "held.csv", train=Train(codec_down="int8")
    )
    gateway.store.ledger.keep_evaluation(0, "held", (0.75, 0.75, 4), 1.0)
    answer(gateway, "a")
    answer(gateway, "b")
    assert gateway.conductor.state is State.MERGING
    answer(gateway, "c")
    assert plan_of(gateway, "c")[0].round == 1
    gateway.close()
    again = Gateway(
        tmp_path / "state", package, rounds=0, round=RULES, limits=PLAIN, gate=Gate(hold=True),
        evaluate=tmp_path / "held.csv", train=Train(codec_down="int8"),
    )  # fmt: skip
    again.hello("a", "b", "c")
    again.conductor.measured(Evaluated(1, "held", Figures(0.5, 0.5, 4)))
    again.tick()
    assert (again.conductor.row.version, again.conductor.row.reason) == (2, "gate")
    again.tick()
    assert {plan_of(again, device)[0].base_version for device in "bc"} == {2}
    assert again.store.ledger.buffered() == 1
