"""Buffered merging over a real store: a merge as soon as K deltas came, a plan as soon as a device answered."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from served import ask
from tiny_gateway import Gateway

from broker_server.cli import run
from broker_server.config import GatewayConfig
from broker_server.config_tables import Limits, RoundRules, Train
from broker_server.errors import UsageError
from broker_server.evaluation.onnx_model import Figures
from broker_server.evaluation.worker import Evaluated
from broker_server.gate_config import Gate
from broker_server.journal import JOURNAL
from broker_server.privacy_config import PrivacyTable
from broker_server.rules.round import State
from broker_server.state.gateway_facts import GatewayFacts
from broker_server.views.live import Load, look
from broker_server.web.feed import Feed
from broker_server.web.page import Page, listen
from broker_server.web.show import live_round
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.messages import decode, encode, ids
from edge_runtime.wire.topics import Topic

RULES = RoundRules(quorum=2, join_wait_s=0, buffer=2, max_staleness=5, deadline_s=1000.0)
PLAIN = Limits(weight_multiple=0, weight_share=1, norm_factor=0, norm_clip=0)


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


def buffered(tmp_path: Path, package: Any, *devices: str, **fields: Any) -> Gateway:
    """Return a gateway that merges two deltas, with devices that have their first plan."""
    gateway = Gateway(tmp_path / "state", package, **({"rounds": 0, "round": RULES, "limits": PLAIN} | fields))
    gateway.hello(*(devices or ("a", "b", "c")))
    gateway.tick()
    return gateway


def plan_of(gateway: Gateway, device: str) -> tuple[pb.Plan, bytes]:
    """Return the plan that a device heard of last."""
    payload = gateway.out.last(Topic.PLAN, device)
    return decode(pb.Plan, payload), payload


def answer(gateway: Gateway, device: str, value: float = 0.01, plan: tuple[pb.Plan, bytes] | None = None) -> pb.Plan:
    """Send the delta of a device's newest plan, or of another one, and look at the table; return the plan."""
    message, payload = plan or plan_of(gateway, device)
    body = encode(tiny.delta(message, payload, value=value))
    gateway.deliver(device, body)
    assert gateway.verdict(device).code == pb.ACCEPTED, gateway.verdict(device)
    assert gateway.verdict(device).digest == sha256(body)
    for _ in range(2):  # merge, and plan from that
        gateway.tick()
    return message


def test_a_device_that_answered_has_its_next_plan_at_once(tmp_path: Path, package: Any) -> None:
    """A answers first: before anything is merged it has another plan, from version 0 and with another seed."""
    gateway = buffered(tmp_path, package)
    first = answer(gateway, "a")
    second, _ = plan_of(gateway, "a")
    assert (gateway.conductor.row.version, second.base_version) == (0, 0)
    assert second.round > first.round
    assert second.seed != first.seed
    assert plan_of(gateway, "b")[0].round == first.round


def test_two_deltas_make_a_version_whoever_sent_them(tmp_path: Path, package: Any) -> None:
    """A answers twice while b and c train: version 1 is made of both, and b's plan still holds."""
    gateway = buffered(tmp_path, package)
    answer(gateway, "a")
    answer(gateway, "a")
    row = gateway.conductor.row
    assert (row.version, row.reason, row.contributors) == (1, "merge", 2)
    assert gateway.conductor.state is State.OPEN
    gateway.tick()
    assert plan_of(gateway, "a")[0].base_version == 1
    assert plan_of(gateway, "b")[0].base_version == 0
    answer(gateway, "b")
    answer(gateway, "c")
    assert gateway.conductor.row.version == 2
    lines = [json.loads(line) for line in (tmp_path / "state" / JOURNAL).read_text().splitlines()]
    assert [(line["version"], line["accepted"], line["late"], line["reason"]) for line in lines] == [
        (1, 2, 0, "buffer full"), (2, 2, 2, "buffer full"),
    ]  # fmt: skip


def test_devices_keep_what_they_sent_until_it_is_merged(tmp_path: Path, package: Any) -> None:
    """While c's plan of round 1 is open no version lets go of what was sent; the one that has its delta does."""
    gateway = buffered(tmp_path, package)
    for device in "abab":
        answer(gateway, device)
    told = decode(pb.Version, gateway.out.last(Topic.VERSION))
    assert (told.version, told.round) == (2, 0)
    answer(gateway, "c")
    answer(gateway, "a")
    told = decode(pb.Version, gateway.out.last(Topic.VERSION))
    assert told.version == 3
    assert 1 <= told.round < plan_of(gateway, "b")[0].round  # b is at work


def test_a_late_delta_weighs_less_only_where_its_experts_moved(tmp_path: Path, package: Any) -> None:
    """C trains from version 0 while a and b make version 1; then c's part of an expert that moved weighs n / sqrt(2).

    That delta and b's, which is fresh, make version 2: where both trained an expert e with values 0.03 and 0.01, it
    moves by (10 x 0.01 + w 0.03) / (10 + w), w = 10 / sqrt(2) if version 1 moved e, and 10 if not.
    """
    gateway = buffered(tmp_path, package)
    late = plan_of(gateway, "c")
    moved = set(ids(answer(gateway, "a", 0.02).train)) | set(ids(answer(gateway, "b", 0.02).train))
    gateway.tick()
    before = gateway.conductor.bank
    assert gateway.conductor.row.version == 1
    fresh = set(ids(answer(gateway, "b", 0.01).train))
    answer(gateway, "c", 0.03, late)
    after = gateway.conductor.bank
    assert gateway.conductor.row.version == 2
    checked = set()
    planned = set(ids(late[0].train))
    for block in planned | fresh:
        weight = 10 / math.sqrt(2) if block in moved else 10.0
        parts = [(10.0, 0.01)] * (block in fresh) + [(weight, 0.03)] * (block in planned)
        expected = sum(one * value for one, value in parts) / sum(one for one, _ in parts)
        assert after.block(block) - before.block(block) == pytest.approx(expected, abs=1e-6)
        checked.add((block in moved, len(parts)))
    assert (True, 2) in checked  # both weights were looked at


def test_an_expert_that_nobody_moved_is_not_stale(tmp_path: Path, package: Any) -> None:
    """A trains one slot: of the experts of c's plan that a's merges left alone, c's part counts in full."""
    gateway = Gateway(tmp_path / "state", package, rounds=0, round=RULES, limits=PLAIN)
    for device, slots in (("a", 1), ("c", 4)):
        gateway.send(Topic.HELLO, device, encode(tiny.hello(package, device, trained_slots=slots)))
    gateway.tick()
    plan, payload = plan_of(gateway, "c")
    folding, merges = gateway.conductor._merging._folding, gateway.conductor._merging._merges
    moved = set(ids(answer(gateway, "a").train)) | set(ids(answer(gateway, "a").train))
    assert gateway.conductor.row.version == 1
    gateway.deliver("c", encode(tiny.delta(plan, payload)))
    (row,) = gateway.store.ledger.waiting()
    claims = folding._claimed(row, gateway.conductor._merging._merges)
    assert len(merges) == 0
    assert {block for block, times in claims.stale.items() if times} == moved
    assert moved < set(ids(plan.train))
    assert claims.staleness == 0  # of the freshest block: what caps are counted by


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


def test_a_buffer_that_does_not_fill_is_merged_after_its_time(tmp_path: Path, package: Any) -> None:
    """Two of nine deltas, a quorum, and nobody else comes: merged at deadline_s."""
    rules = RoundRules(quorum=2, join_wait_s=0, buffer=9, max_staleness=5, deadline_s=500.0)
    gateway = buffered(tmp_path, package, round=rules)
    answer(gateway, "a")
    answer(gateway, "b")
    assert gateway.conductor.row.version == 0
    gateway.now += 500.0
    gateway.tick()
    assert gateway.conductor.row.version == 1
    assert json.loads((tmp_path / "state" / JOURNAL).read_text())["reason"] == "deadline"


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


def test_rounds_count_merges(tmp_path: Path, package: Any) -> None:
    """Two, then the federation has finished: late deltas are refused, and a start finds it so."""
    gateway = buffered(tmp_path, package, rounds=2)
    for device in ("a", "b", "a", "b"):
        answer(gateway, device)
    assert (gateway.conductor.row.version, gateway.conductor.state, gateway.conductor.done) == (2, State.FINISHED, 2)
    assert gateway.conductor.gateway_state(online=True).finished
    gateway.close()
    again = Gateway(tmp_path / "state", package, rounds=2, round=RULES)
    assert again.conductor.state is State.FINISHED
    again.close()
    more = Gateway(tmp_path / "state", package, rounds=3, round=RULES)
    assert more.conductor.state is State.OPEN


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


def test_a_revoked_device_fills_no_buffer(tmp_path: Path, package: Any) -> None:
    """Its delta waits and is left out of the merge."""
    gateway = buffered(tmp_path, package)
    answer(gateway, "a")
    gateway.store.ledger.revoke("a", revoked=True)
    answer(gateway, "b")
    assert gateway.conductor.row.version == 0
    answer(gateway, "c")
    assert gateway.conductor.row.contributors == 2


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


def test_from_rounds_to_a_buffer_and_back(tmp_path: Path, package: Any) -> None:
    """The settings change between two starts: plans that are out hold, and rounds that were done count as merges."""
    rounds = RoundRules(quorum=2, join_wait_s=0)
    gateway = Gateway(tmp_path / "state", package, rounds=0, round=rounds)
    gateway.hello("a", "b")
    for _ in range(2):
        gateway.tick()
        gateway.train("a")
        gateway.train("b")
        gateway.tick()
    gateway.tick()
    gateway.close()
    again = Gateway(tmp_path / "state", package, rounds=0, round=RULES)
    again.hello("a", "b")
    again.conductor.announce()
    assert (again.conductor.done, plan_of(again, "a")[0].round) == (2, 3)
    answer(again, "a")
    answer(again, "b")
    assert (again.conductor.done, again.conductor.row.version) == (3, 3)
    again.close()
    back = Gateway(tmp_path / "state", package, rounds=0, round=rounds)
    back.hello("a", "b")
    for _ in range(4):
        back.tick()
        plans = back.store.ledger.plans(back.conductor.round)
        for device in sorted(set(plans) - back.conductor.status.answered):
            back.train(device)
    assert back.conductor.row.version > 3


def test_people_see_the_buffer(tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """One of two deltas waits; a has its next plan, b and c their first."""
    gateway = buffered(tmp_path, package)
    GatewayFacts(5.0, "mqtt://127.0.0.1:1883", 2, 0, buffer=2).keep(gateway.store.ledger)
    answer(gateway, "a")
    run(["status", "--state", str(tmp_path / "state")])
    assert "1 of 2 deltas wait for the next merge; at work: a, b, c" in capsys.readouterr().out
    run(["status", "--json", "--state", str(tmp_path / "state")])
    plain = json.loads(capsys.readouterr().out)
    assert (plain["buffer"], plain["buffered"], plain["planned"]) == (2, 1, ["a", "b", "c"])
    live = look(gateway.conductor, gateway.parts.roster, Load(broker_up=True), (gateway.now, time.time()), 1.0)
    assert (live.buffer, live.buffered, live.plain()["buffered"]) == (2, 1, 1)
    shown = live_round(Feed(gateway.config, lambda: live))
    assert shown["headline"] == "1 of 2 deltas for the next merge"
    assert shown["counts"]["waits"] == 3
    listener = listen("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    page = Page(gateway.config, lambda: live, None, listener)
    page.start()
    assert "3 at work, each goes on as soon as it answered" in ask(port, "/fragment/round").text
    assert "edge_gateway_buffer_deltas 1.0" in ask(port, "/metrics").text
    page.stop()


def test_the_buffer_s_size_is_checked(tmp_path: Path) -> None:
    """No negative one."""
    with pytest.raises(UsageError, match="buffer -1, expected"):
        GatewayConfig(tmp_path, round=RoundRules(buffer=-1))


def test_a_buffer_and_privacy_do_not_go_together(tmp_path: Path) -> None:
    """A quick device would be in a merge more than once."""
    with pytest.raises(UsageError, match="a device that is quick would be in a merge"):
        GatewayConfig(
            tmp_path, round=RoundRules(buffer=2, max_staleness=0), privacy=PrivacyTable(enabled=True),
            limits=Limits(norm_factor=0),
        )  # fmt: skip


def test_the_same_answers_make_the_same_bytes(tmp_path: Path, package: Any) -> None:
    """Two federations of the same answers in the same order end alike, also when one was started anew between all."""
    digests = []
    for name, restarts in (("one", False), ("two", True)):
        gateway = buffered(tmp_path / name, package)
        for place, device in enumerate("abcabacbca"):
            answer(gateway, device, 0.01 * (place + 1))
            if restarts:
                gateway.close()
                gateway = Gateway(tmp_path / name / "state", package, rounds=0, round=RULES, limits=PLAIN)
                gateway.hello("a", "b", "c")
                gateway.conductor.announce()
                gateway.tick()
        digests.append((gateway.conductor.row.version, gateway.conductor.bank.digest()))
        gateway.close()
    assert digests[0] == digests[1]
    assert digests[0][0] == 5
    assert np.isfinite(gateway.conductor.bank.experts).all()
