"""Buffered merging over a real store: a merge as soon as K deltas came, whoever sent them."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from buffered_gateway import PLAIN, RULES, answer, buffered, plan_of
from served import ask
from tiny_gateway import Gateway

from broker_server.cli import run
from broker_server.config import GatewayConfig
from broker_server.config_tables import Limits, RoundRules
from broker_server.errors import UsageError
from broker_server.journal import JOURNAL
from broker_server.privacy_config import PrivacyTable
from broker_server.rules.round import State
from broker_server.state.gateway_facts import GatewayFacts
from broker_server.views.live import Load, look
from broker_server.web.feed import Feed
from broker_server.web.page import Page, listen
from broker_server.web.show import live_round
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import decode, encode, ids
from edge_runtime.wire.topics import Topic


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


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


def test_a_revoked_device_fills_no_buffer(tmp_path: Path, package: Any) -> None:
    """Its delta waits and is left out of the merge."""
    gateway = buffered(tmp_path, package)
    answer(gateway, "a")
    gateway.store.ledger.revoke("a", revoked=True)
    answer(gateway, "b")
    assert gateway.conductor.row.version == 0
    answer(gateway, "c")
    assert gateway.conductor.row.contributors == 2


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
