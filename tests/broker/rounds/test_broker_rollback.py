"""Going back to an earlier version: numbers only grow, and what a revoked device did is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.cli import run
from broker_server.config_tables import RoundRules
from broker_server.rules.round import State
from broker_server.state.settings_table import ROLLBACK
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import decode
from edge_runtime.wire.topics import Topic

RED, GREEN = 0, 1
RULES = RoundRules(quorum=2, join_wait_s=0)


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


def a_round(gateway: Gateway, *devices: str) -> None:
    """Let a round begin, and close with these devices' deltas."""
    gateway.tick()
    assert gateway.conductor.state is State.OPEN
    for device in devices:
        gateway.train(device)
    gateway.tick()


def ask(gateway: Gateway, version: int, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the operator's command; return what it says."""
    assert run(["rollback", str(version), "--state", str(gateway.config.state)]) == 0
    return capsys.readouterr().out


def test_the_bank_of_an_earlier_version_comes_as_a_new_one(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """After rounds 1 and 2 the operator goes back to version 1: version 3 has its digest; round 3 trains from it."""
    gateway = Gateway(tmp_path / "state", package, rounds=0, round=RULES)
    gateway.hello("a", "b")
    a_round(gateway, "a", "b")
    first = gateway.conductor.bank
    a_round(gateway, "a", "b")
    assert "version 1 comes back as a new version, above 2" in ask(gateway, 1, capsys)
    gateway.tick()
    row = gateway.conductor.row
    assert (row.version, row.parent, row.reason) == (3, 1, "rollback")
    assert gateway.conductor.bank.digest() == first.digest()
    announced = decode(pb.Version, gateway.out.last(Topic.VERSION))
    assert (announced.version, announced.digest) == (3, first.digest())
    assert gateway.plan("a")[0].base_version == 3
    assert [one["parent"] for one in gateway.told if one.get("reason") == "rollback"] == [1]
    gateway.train("a")
    gateway.train("b")
    gateway.tick()
    assert (gateway.conductor.row.version, gateway.conductor.row.parent) == (4, 3)


def test_an_open_round_closes_first(tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Its plans name their base: the version that it makes is the one that is gone back from."""
    gateway = Gateway(tmp_path / "state", package, rounds=0, round=RULES)
    gateway.hello("a", "b")
    gateway.tick()
    ask(gateway, 0, capsys)
    gateway.tick()
    assert gateway.conductor.row.version == 0
    gateway.train("a")
    gateway.train("b")
    gateway.tick()
    gateway.tick()
    assert [row.reason for row in gateway.store.ledger.versions()] == ["initial", "merge", "rollback"]


def test_a_gateway_that_does_not_run_goes_back_when_it_starts(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once: the next start goes on from there. A finished federation goes back as well."""
    gateway = Gateway(tmp_path / "state", package, rounds=1, round=RULES)
    gateway.hello("a", "b")
    a_round(gateway, "a", "b")
    gateway.close()
    ask(gateway, 0, capsys)
    for _ in range(2):
        again = Gateway(tmp_path / "state", package, rounds=1, round=RULES)
        again.tick()
        assert again.conductor.row.version == 2
        assert again.conductor.bank.digest() == package.bank().digest()
        again.close()


def test_the_head_is_made_anew_without_the_removed_device(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Version 1 has the liar's class sums; after going back to it the head is that of a and b alone."""
    texts = {"a": (["rose", "sky"], [RED, GREEN]), "b": (["rose"], [RED]), "liar": (["leaf"], [RED])}

    def gathered(name: str, *devices: str) -> Gateway:
        gateway = Gateway(tmp_path / name, package, rounds=0, round=RULES)
        for device in devices:
            gateway.statistics(device, gateway.hello_with(device, *texts[device]))
        gateway.tick()
        return gateway

    honest = gathered("honest", "a", "b").conductor.bank.head.tobytes()
    gateway = gathered("state", "a", "b", "liar")
    for device in ("a", "b", "liar"):
        gateway.train(device)
    gateway.tick()
    gateway.store.ledger.revoke("liar", revoked=True)
    ask(gateway, 1, capsys)
    gateway.tick()
    assert gateway.conductor.state is State.OPEN
    assert set(gateway.store.ledger.plans(2)) == {"a", "b"}
    assert gateway.conductor.bank.head.tobytes() == honest
    assert gateway.conductor.bank.experts.tobytes() == package.bank().experts.tobytes()


def test_statistics_of_the_balance_go_back_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With top-k gates a version has them; version 0 has the start's."""
    package = tiny.make_package(tmp_path / "package", gate="topk")
    gateway = Gateway(tmp_path / "state", package, rounds=0, round=RULES)
    gateway.hello("a", "b")
    start = gateway.conductor._merging.balance
    gateway.tick()
    use = [pb.ExpertUse(layer=0, index=0, routed=8.0, seen=10.0)]
    gateway.train("a", use=use)
    gateway.train("b", use=use)
    gateway.tick()
    after = gateway.conductor._merging.balance
    assert after != start
    ask(gateway, 0, capsys)
    gateway.tick()
    assert gateway.conductor._merging.balance == start
    gateway.close()
    again = Gateway(tmp_path / "state", package, rounds=0, round=RULES)
    assert again.conductor._merging.balance == start


def test_a_version_that_is_not_there_is_refused(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command, with those that are there; by a gateway, when it went meanwhile."""
    gateway = Gateway(tmp_path / "state", package, rounds=0, round=RULES)
    assert run(["rollback", "7", "--state", str(gateway.config.state)]) == 2
    assert "no version 7" in capsys.readouterr().err
    gateway.store.ledger.put(ROLLBACK, "7")
    gateway.tick()
    assert gateway.conductor.row.version == 0
    assert gateway.store.ledger.get(ROLLBACK) == ""
    assert "no version 7" in next(one for one in gateway.told if one["event"] == "damaged")["detail"]


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_what_is_learned_from_an_early_version_is_as_large_as_it_was_then(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str], restarted: bool
) -> None:
    """Updates became small; after version 1 came back they are large again, and neither refused nor cut for it."""
    early, late = 0.01, 0.0005
    state = tmp_path / "state"
    gateway = Gateway(state, package, rounds=0, round=RULES)
    gateway.hello("a", "b")
    a_round(gateway, "a", "b")
    for _ in range(10):
        gateway.tick()
        for device in ("a", "b"):
            gateway.train(device, late)
        gateway.tick()
    gateway.hello("c")
    gateway.tick()
    gateway.train("c", early)
    assert gateway.verdict("c").code == pb.NORM_TOO_LARGE
    gateway.train("a", late)
    gateway.train("b", late)
    ask(gateway, 1, capsys)
    if restarted:
        gateway.close()
        gateway = Gateway(state, package, rounds=0, round=RULES)
        gateway.hello("a", "b", "c")
        gateway.train("c", late)
    gateway.tick()
    gateway.tick()
    assert gateway.conductor.row.reason == "rollback"
    base = gateway.conductor.bank
    gateway.tick()
    for device in ("a", "b", "c"):
        gateway.train(device, early)
        assert gateway.verdict(device).code == pb.ACCEPTED
    gateway.tick()
    assert gateway.conductor.row.reason == "merge"
    assert np.max(gateway.conductor.bank.experts - base.experts) == pytest.approx(early, rel=1e-3)
