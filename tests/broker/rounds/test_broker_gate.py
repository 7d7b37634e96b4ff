"""The gate: a merged version waits until it is measured; one that is worse than the margin allows reaches no device."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import tiny
from served import ask
from tiny_gateway import Gateway

from broker_server.cli import run
from broker_server.config import GatewayConfig
from broker_server.config_tables import RoundRules, Train
from broker_server.errors import UsageError
from broker_server.evaluation.onnx_model import Figures, TextFigures
from broker_server.evaluation.worker import Evaluated
from broker_server.gate_config import Gate
from broker_server.journal import JOURNAL
from broker_server.rules.round import State
from broker_server.state.residuals import digests_of
from broker_server.views.live import Load, look
from broker_server.views.reading import reading
from broker_server.views.rounds import read_rounds
from broker_server.views.status import read_status
from broker_server.views.versions import read_versions
from broker_server.web.feed import Feed
from broker_server.web.page import Page, listen
from broker_server.web.show import live_round, overview, versions
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.topics import Topic

DATA = "held.csv@0123"
RULES = RoundRules(quorum=2, join_wait_s=0)
INT8 = Train(learning_rate=0.1, codec_down="int8")


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


def gated(tmp_path: Path, package: Any, **fields: Any) -> Gateway:
    """Return a gateway with a gate, and with two devices."""
    values = {"rounds": 0, "round": RULES, "gate": Gate(hold=True, margin=0.01), "evaluate": tmp_path / "held.csv"}
    gateway = Gateway(tmp_path / "state", package, **(values | fields))
    gateway.hello("a", "b")
    return gateway


def a_round(gateway: Gateway, **fields: Any) -> None:
    """Let a round begin and be merged."""
    gateway.tick()
    assert gateway.conductor.state is State.OPEN
    for device in ("a", "b"):
        gateway.train(device, **fields)
    gateway.tick()


def measure(gateway: Gateway, version: int, accuracy: float) -> None:
    """Let the evaluator say what a version is worth, as the service does, and the gate decide."""
    figures = Figures(accuracy, accuracy, 4)
    gateway.store.ledger.keep_evaluation(version, DATA, (accuracy, accuracy, 4), gateway.now)
    gateway.conductor.measured(Evaluated(version, DATA, figures))
    gateway.tick()


def announced(gateway: Gateway) -> pb.Version:
    """Return the version that devices heard of last."""
    return decode(pb.Version, gateway.out.last(Topic.VERSION))


def test_no_device_hears_of_a_version_before_it_is_measured(tmp_path: Path, package: Any) -> None:
    """Version 1 is in the ledger, devices are told of version 0; then it is 0.005 worse, within the margin: served."""
    gateway = gated(tmp_path, package)
    gateway.conductor.announce()
    measure(gateway, 0, 0.75)
    a_round(gateway)
    assert gateway.conductor.state is State.MERGING
    for _ in range(3):
        gateway.tick()
        gateway.conductor.announce()
    assert (gateway.conductor.row.version, gateway.conductor.newest.version, announced(gateway).version) == (0, 1, 0)
    assert gateway.conductor.gateway_state(online=True).version == 0
    measure(gateway, 1, 0.745)
    assert (announced(gateway).version, gateway.conductor.row.version) == (1, 1)
    gateway.tick()
    assert gateway.plan("a")[0].base_version == 1
    kinds = [one["event"] for one in gateway.told if one["event"] in ("held", "version", "not_served")]
    assert kinds == ["held", "version"]
    line = json.loads((tmp_path / "state" / JOURNAL).read_text())
    assert (line["round"], line["version"], line["accepted"], line["gate"]) == (1, 1, 2, "served")


def test_devices_go_on_from_the_version_before_one_that_is_not_served(tmp_path: Path, package: Any) -> None:
    """Version 1 falls from 0.75 to 0.5: version 2 is version 0 again, byte for byte, and the next is made from it."""
    gateway = gated(tmp_path, package, train=INT8)
    measure(gateway, 0, 0.75)
    a_round(gateway)
    merged = gateway.conductor.bank.digest()
    measure(gateway, 1, 0.5)
    row = gateway.conductor.row
    assert (row.version, row.parent, row.reason) == (2, 0, "gate")
    assert gateway.conductor.bank.digest() == package.bank().digest() != merged
    version = announced(gateway)
    # Its round is that of the merge: devices let go of the deltas that they sent for it.
    assert (version.version, version.digest, version.round) == (2, package.bank().digest(), 1)
    assert gateway.store.ledger.accuracies(DATA) == {0: 0.75, 1: 0.5, 2: 0.75}
    event = next(one for one in gateway.told if one["event"] == "not_served")
    assert (event["version"], event["again"], event["value"], event["reference"]) == (1, 2, 0.5, 0.75)
    assert json.loads((tmp_path / "state" / JOURNAL).read_text())["gate"] == "not served"
    a_round(gateway)
    measure(gateway, 3, 0.8)
    assert (gateway.conductor.row.version, gateway.conductor.row.parent) == (3, 2)
    assert gateway.conductor.bank.digest() == merged  # the same deltas, from the same bank
    assert [row.version for row in gateway.store.ledger.deltas(1)] == [1, 1]


def test_residuals_are_those_of_the_version_before(tmp_path: Path, package: Any) -> None:
    """In steps of int8: after version 2 is not served, version 4 is what it had been without that round."""
    once = {"value": 0.03, "spread": 0.01}
    gateway = gated(tmp_path, package, train=INT8)
    measure(gateway, 0, 0.75)
    a_round(gateway, **once)
    measure(gateway, 1, 0.8)
    left = gateway.conductor.row.residuals
    assert left
    a_round(gateway, value=-0.02, spread=0.007)
    assert gateway.conductor.newest.residuals != left
    measure(gateway, 2, 0.1)
    assert gateway.conductor.row.residuals == left
    a_round(gateway, **once)
    without = Gateway(tmp_path / "without", package, rounds=0, round=RULES, train=INT8)
    without.hello("a", "b")
    for _ in range(2):
        a_round(without, **once)
    assert gateway.conductor.bank.digest() == without.conductor.bank.digest()
    assert gateway.conductor.newest.residuals == without.conductor.row.residuals


def test_what_was_trained_from_the_version_before_is_not_late(tmp_path: Path, package: Any) -> None:
    """A delta of the round whose merge was not served comes after it: its base is the bank that devices have."""
    gateway = gated(tmp_path, package, round=RoundRules(quorum=2, join_wait_s=0, newcomer_wait_s=0, max_staleness=0))
    gateway.hello("c")
    measure(gateway, 0, 0.75)
    gateway.tick()
    plan, payload = gateway.plan("c")
    gateway.train("a")
    gateway.train("b")
    gateway.now += 1e6
    gateway.tick()
    assert gateway.conductor.age(0) == 1  # while nobody knows, it counts
    measure(gateway, 1, 0.5)
    assert gateway.conductor.age(0) == gateway.conductor.age(2) == 0
    gateway.deliver("c", encode(tiny.delta(plan, payload)))
    assert gateway.verdict("c").code == pb.ACCEPTED
    gateway.close()
    again = gated(tmp_path, package)
    assert again.conductor.age(0) == 0


def test_a_delta_that_comes_while_a_version_is_measured_counts_in_the_next(tmp_path: Path, package: Any) -> None:
    """It is accepted, and waits."""
    gateway = gated(tmp_path, package, round=RoundRules(quorum=2, join_wait_s=0, newcomer_wait_s=0))
    gateway.hello("c")
    gateway.tick()
    gateway.train("a")
    gateway.train("b")
    gateway.now += 1e6
    gateway.tick()
    assert gateway.conductor.state is State.MERGING
    gateway.train("c")
    assert gateway.verdict("c").code == pb.ACCEPTED
    measure(gateway, 1, 0.9)
    assert [row.device for row in gateway.store.ledger.waiting()] == ["c"]
    assert announced(gateway).round == 0  # c keeps it until the next version, which has it


@pytest.mark.parametrize(("accuracy", "reason"), [(0.8, "merge"), (0.1, "gate")])
def test_a_start_holds_the_version_again(tmp_path: Path, package: Any, accuracy: float, reason: str) -> None:
    """Killed while a version is measured: it waits, is measured again, and the journal has its round."""
    gateway = gated(tmp_path, package)
    measure(gateway, 0, 0.75)
    a_round(gateway)
    gateway.close()
    again = gated(tmp_path, package)
    assert again.conductor.state is State.MERGING
    again.conductor.announce()
    assert announced(again).version == 0
    assert list(again.conductor.compared) == [1, 0]
    measure(again, 1, accuracy)
    assert again.conductor.row.reason == reason
    line = json.loads((tmp_path / "state" / JOURNAL).read_text())
    assert (line["reason"], line["accepted"], line["planned"], line["trainers_max"]) == ("restarted", 2, 2, 1)
    again.tick()
    assert again.conductor.state is State.OPEN


def test_a_decision_that_was_written_is_carried_out(tmp_path: Path, package: Any) -> None:
    """Killed between the decision and the version that follows from it: no measurement is needed any more."""
    gateway = gated(tmp_path, package)
    measure(gateway, 0, 0.75)
    a_round(gateway)
    gateway.conductor.measured(Evaluated(1, DATA, Figures(0.1, 0.1, 4)))
    decision = gateway.conductor._gate.decision()
    assert decision is not None
    gateway.store.ledger.decide_version(decision, 9.0)
    gateway.close()
    again = gated(tmp_path, package)
    again.tick()
    assert (again.conductor.row.version, again.conductor.row.reason) == (2, "gate")


def test_a_lost_ledger_does_not_hold_what_devices_have(tmp_path: Path, package: Any) -> None:
    """Version 1 was served, and round 2 is open from it; put back from the files, the round goes on."""
    gateway = gated(tmp_path, package)
    measure(gateway, 0, 0.75)
    a_round(gateway)
    measure(gateway, 1, 0.8)
    gateway.tick()
    gateway.train("a")
    gateway.close()
    for path in (tmp_path / "state").glob("ledger.sqlite3*"):
        path.unlink()
    again = gated(tmp_path, package)
    assert (again.conductor.held, again.conductor.row.version, again.conductor.state) == (None, 1, State.OPEN)
    assert again.conductor.status.answered == {"a"}


def test_a_gate_that_is_switched_off_lets_the_version_go(tmp_path: Path, package: Any) -> None:
    """It is served at the next start; a federation that had no gate begins with what devices have."""
    gateway = gated(tmp_path, package)
    a_round(gateway)
    gateway.close()
    off = Gateway(tmp_path / "state", package, rounds=0, round=RULES)
    assert (off.conductor.row.version, off.conductor.state) == (1, State.GATHERING)
    off.hello("a", "b")
    a_round(off)
    off.close()
    on = gated(tmp_path, package)
    assert (on.conductor.row.version, on.conductor.held) == (2, None)


def test_a_version_is_compared_with_the_best_of_the_last_ones(tmp_path: Path, package: Any) -> None:
    """0.75, 0.745, 0.739: each a little worse than the one before, the third too much worse than the first."""
    gateway = gated(tmp_path, package)
    measure(gateway, 0, 0.75)
    for version, accuracy in ((1, 0.745), (2, 0.739)):
        a_round(gateway)
        measure(gateway, version, accuracy)
    assert gateway.conductor.row.version == 3
    decision = gateway.store.ledger.newest_decision()
    assert decision is not None
    assert (decision.version, decision.served, decision.against) == (2, False, 0)


def test_a_language_model_is_judged_by_its_loss(tmp_path: Path, package: Any) -> None:
    """2.0, then 2.5: not served."""
    gateway = gated(tmp_path, package)
    gateway.store.ledger.keep_text_evaluation(0, DATA, (2.0, 9), 1.0)
    a_round(gateway)
    gateway.conductor.measured(Evaluated(1, DATA, TextFigures(2.5, 9)))
    gateway.tick()
    assert gateway.conductor.row.reason == "gate"
    assert gateway.store.ledger.losses(DATA) == {0: 2.0, 2: 2.0}


def test_an_operator_may_serve_what_the_gate_did_not(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rollback to version 1, which was not served, makes its bank version 3; the next is compared with that."""
    gateway = gated(tmp_path, package)
    measure(gateway, 0, 0.75)
    a_round(gateway)
    merged = gateway.conductor.bank.digest()
    measure(gateway, 1, 0.5)
    assert run(["rollback", "1", "--state", str(tmp_path / "state")]) == 0
    capsys.readouterr()
    gateway.tick()
    assert (gateway.conductor.row.version, gateway.conductor.row.reason) == (3, "rollback")
    assert gateway.conductor.bank.digest() == merged
    measure(gateway, 3, 0.5)
    for device in ("a", "b"):
        gateway.train(device)
    gateway.tick()
    assert list(gateway.conductor.compared) == [4, 3]
    measure(gateway, 4, 0.495)
    assert (gateway.conductor.row.version, gateway.conductor.row.reason) == (4, "merge")


def test_a_rollback_waits_for_the_decision(tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """While version 1 is measured nothing goes back; afterwards it does."""
    gateway = gated(tmp_path, package)
    a_round(gateway)
    assert run(["rollback", "0", "--state", str(tmp_path / "state")]) == 0
    capsys.readouterr()
    gateway.tick()
    assert gateway.conductor.newest.version == 1
    measure(gateway, 1, 0.9)
    gateway.tick()
    assert [row.reason for row in gateway.store.ledger.versions()] == ["initial", "merge", "rollback"]


def test_people_see_what_was_decided(tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """status, versions and their JSON: while it is measured, and when it is not served."""
    gateway = gated(tmp_path, package)
    measure(gateway, 0, 0.75)
    a_round(gateway)
    state = tmp_path / "state"
    with reading(state) as ledger:
        status, versions = read_status(ledger, 40.0), read_versions(ledger)
    assert (status.version, status.held, status.gate) == (0, 1, None)
    assert [(one.number, one.served, one.held) for one in versions.rows] == [(0, True, False), (1, False, True)]
    run(["status", "--state", str(state)])
    assert "version 1 is measured before devices get it" in capsys.readouterr().out
    measure(gateway, 1, 0.5)
    with reading(state) as ledger:
        status, versions = read_status(ledger, 40.0), read_versions(ledger).plain()["versions"]
        assert read_rounds(ledger).rows[0].plain()["gate"] == "not served"
    assert (status.version, status.held) == (2, None)
    assert status.plain()["gate"] == {
        "version": 1, "served": False, "figure": "accuracy", "value": 0.5, "against": 0, "reference": 0.75,
        "margin": 0.01, "detail": "",
    }  # fmt: skip
    assert [(one["version"], one["served"]) for one in versions] == [(0, True), (1, False), (2, True)]
    run(["status", "--state", str(state)])
    assert "version 1 is not served: accuracy 0.5000, version 0 has 0.7500 (margin 0.01)" in capsys.readouterr().out
    run(["versions", "--state", str(state)])
    assert "merge, not served" in capsys.readouterr().out
    run(["rounds", "--state", str(state)])
    assert "not served" in capsys.readouterr().out


def test_the_page_says_what_was_decided(tmp_path: Path, package: Any) -> None:
    """The part with the gate, the list of versions, and the headline while one is measured."""
    gateway = gated(tmp_path, package)
    measure(gateway, 0, 0.75)
    a_round(gateway)
    held = look(gateway.conductor, gateway.parts.roster, Load(broker_up=True), (gateway.now, time.time()), 1.0)
    assert live_round(Feed(gateway.config, lambda: held))["headline"] == "Version 1 is measured before devices get it"
    measure(gateway, 1, 0.5)
    feed = Feed(gateway.config, lambda: None)
    shown = overview(feed, feed.figures())
    assert "not served when it is more than 0.01 worse than the best of the last 5" in shown["gate"]
    assert "version 1 is not served: accuracy 0.5000" in shown["gate"]
    listed = versions(feed, feed.figures())
    assert listed["gate"][1] == "not served: accuracy 0.5000, version 0 has 0.7500 (margin 0.01)"
    listener = listen("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    page = Page(gateway.config, lambda: None, None, listener)
    page.start()
    assert "merge, not served" in " ".join(ask(port, "/versions").text.split())
    assert 'class="point not-served"' in ask(port, "/fragment/figures").text
    page.stop()


def test_a_gate_needs_texts_to_measure_on(tmp_path: Path) -> None:
    """Refused before anything starts."""
    with pytest.raises(UsageError, match="set evaluate to a file"):
        GatewayConfig(tmp_path, gate=Gate(hold=True))


@pytest.mark.parametrize("when", ["before the decision", "after it"])
def test_what_is_damaged_of_the_version_before_is_made_again(tmp_path: Path, package: Any, when: str) -> None:
    """A residual of version 1 is garbage while version 2 is measured, or after that was not served: it comes back."""
    gateway = gated(tmp_path, package, train=INT8)
    measure(gateway, 0, 0.75)
    a_round(gateway, value=0.03, spread=0.01)
    measure(gateway, 1, 0.8)
    before = gateway.conductor.row
    a_round(gateway, value=-0.02, spread=0.007)
    path = gateway.store.residuals.blobs._path(next(iter(digests_of(before).values())))
    if when == "before the decision":
        path.write_bytes(b"garbage")
    measure(gateway, 2, 0.1)
    if when == "after it":
        path.write_bytes(b"garbage")
    gateway.close()
    again = gated(tmp_path, package, train=INT8)
    row = again.conductor.row
    assert (row.version, row.reason, row.residuals, row.digest) == (3, "gate", before.residuals, before.digest)
    assert not any("lost" in note for note in again.store.notes)
