"""[privacy] at a gateway: what is merged, what is counted, over restarts and losses, and where it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.cli import run
from broker_server.config import GatewayConfig
from broker_server.config_tables import Limits, RoundRules, Train
from broker_server.errors import UsageError
from broker_server.privacy_config import PrivacyTable
from broker_server.rules.round import State
from broker_server.server_config import RobustMerging
from broker_server.state.backup import back_up, restore
from broker_server.state.moments import notes_of
from broker_server.state.privacy_account import NAME, PrivacyAccount
from broker_server.state.settings_table import ROLLBACK
from edge_runtime.wire.experts import HEAD

pytest.importorskip("dp_accounting", reason="the extra [privacy] is not installed")

LIMITS, RULES = Limits(norm_factor=0), RoundRules(quorum=2, join_wait_s=0, max_staleness=0)
TRAIN = Train(learning_rate=0.1, head_share=1.0)
TEXTS = {"a": (["rose", "leaf"], [0, 1]), "b": (["sky", "sky sky"], [2, 2])}


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path_factory.mktemp("tiny") / "package")


def opened(state: Path, package: Any, train: Train = TRAIN, **table: Any) -> Gateway:
    """Return a gateway with two devices; what ``table`` does not say is 1 % of noise, and a budget for that."""
    privacy = PrivacyTable(**({"enabled": True, "noise": 0.01, "epsilon": 1e6} | table))
    gateway = Gateway(state, package, rounds=0, round=RULES, limits=LIMITS, train=train, privacy=privacy)
    for device, (texts, labels) in TEXTS.items():
        body = gateway.hello_with(device, texts, labels)
        if gateway.verdict(device).want_statistics:
            gateway.statistics(device, body)
    return gateway


def play(gateway: Gateway, *numbers: int) -> None:
    """Play rounds whose deltas depend on device and round."""
    for number in numbers:
        gateway.tick()
        assert gateway.conductor.state is State.OPEN
        for place, device in enumerate(TEXTS):
            gateway.train(device, value=0.01 * number * (1 + place), label_counts=[1.0, 1.0, 1.0])
        gateway.tick()


def account(state: Path) -> PrivacyAccount:
    """Return what is counted."""
    read = PrivacyAccount.read(state)
    assert read is not None
    return read


def verified(state: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Verify a state by command; return what it says."""
    capsys.readouterr()
    run(["verify", "--state", str(state)])
    return capsys.readouterr().out


def test_updates_are_cut_whole_and_divided_by_who_was_planned(tmp_path: Path, package: Any) -> None:
    """Each delta, of one value v in n places, v sqrt(n) long, is cut to 0.001; two were planned. Hardly any noise."""
    gateway = opened(tmp_path / "state", package, clip=1e-3, noise=2e-3)
    gateway.tick()
    start, plans = gateway.conductor.bank, [gateway.plan(device)[0] for device in TEXTS]
    play(gateway, 1)
    sizes = [sum(tiny.size_of(ref) for ref in plan.train) for plan in plans]
    expected = sum(1e-3 / np.sqrt(size) for size in sizes) / 2
    moved = gateway.conductor.bank.block(HEAD).astype(float) - start.block(HEAD)
    assert moved == pytest.approx(expected, rel=0.05)
    assert (moved != moved[0]).any()  # noise of 2e-6
    gateway.close()


def test_a_gateway_that_was_restarted_between_rounds_makes_the_same_versions(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the same seed; the newest merge is made again to the byte, by a command that knows no settings."""
    for name in ("through", "often"):
        (tmp_path / name).mkdir(mode=0o700)
        PrivacyAccount(b"s" * 32).write(tmp_path / name)
    through = opened(tmp_path / "through", package, train=Train(head_share=1.0, codec_down="int8"))
    play(through, 1, 2, 3)
    for number in (1, 2, 3):
        gateway = opened(tmp_path / "often", package, train=Train(head_share=1.0, codec_down="int8"))
        play(gateway, number)
        row = gateway.conductor.row
        gateway.close()
    assert (row.digest, row.server) == (through.conductor.row.digest, through.conductor.row.server)
    through.close()
    assert "again from its deltas: the same bytes (version 3)" in verified(tmp_path / "often", capsys)
    assert account(tmp_path / "often").releases == {0.01: 3}


def test_two_gateways_draw_other_noise(tmp_path: Path, package: Any) -> None:
    """Each has a seed of its own, which nobody else reads."""
    digests = []
    for name in ("one", "two"):
        gateway = opened(tmp_path / name, package)
        play(gateway, 1)
        digests.append(gateway.conductor.row.digest)
        gateway.close()
        assert (tmp_path / name / NAME).stat().st_mode & 0o077 == 0
    assert digests[0] != digests[1]


def test_the_budget_ends_merging(tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Noise 4, epsilon 2: a few merges fit; then the federation is finished, over restarts, and says why."""
    state = tmp_path / "state"
    gateway = opened(state, package, noise=4.0, epsilon=2.0)
    left = [gateway.conductor._merging.budget.merges_left]
    while gateway.conductor.state is not State.FINISHED:
        play(gateway, 1)
        left.append(gateway.conductor._merging.budget.merges_left)
    assert left == list(range(left[0], -1, -1))
    assert left[0] > 1
    told = [event for event in gateway.told if event["event"] == "privacy"]
    assert [event["releases"] for event in told] == list(range(left[0] + 1))
    assert told[-1]["epsilon"] <= 2.0
    gateway.close()
    again = opened(state, package, noise=4.0, epsilon=2.0)
    assert again.conductor.state is State.FINISHED
    again.close()
    run(["status", "--state", str(state)])
    assert f"{left[0]} releases, no merge is left, and none is made" in " ".join(capsys.readouterr().out.split())
    run(["status", "--state", str(state), "--json"])
    assert json.loads(capsys.readouterr().out)["privacy"]["left"] == 0
    # Class sums that are asked for late do not go beyond it either.
    late = opened(state, package, noise=4.0, epsilon=2.0, class_noise=0.5)
    late.tick()
    assert account(state).releases == {4.0: left[0]}
    late.close()
    more = opened(state, package, noise=4.0, epsilon=3.0)
    assert account(state).told["budget"] == 3.0
    play(more, 1)
    assert account(state).releases == {4.0: left[0] + 1}
    more.close()


def test_an_open_round_is_not_merged_beyond_the_budget(tmp_path: Path, package: Any) -> None:
    """A restart with a smaller budget finishes with the deltas where they are."""
    gateway = opened(tmp_path / "state", package, noise=4.0, epsilon=2.0)
    play(gateway, 1)
    gateway.tick()
    assert gateway.conductor.state is State.OPEN
    gateway.close()
    again = opened(tmp_path / "state", package, noise=4.0, epsilon=1.3)
    for _ in range(3):
        again.tick()
    assert (again.conductor.state, again.conductor.row.version) == (State.FINISHED, 1)
    again.close()


def test_class_sums_are_not_asked_for_without_noise(tmp_path: Path, package: Any) -> None:
    """Devices begin without; the head is trained."""
    gateway = opened(tmp_path / "state", package)
    assert not gateway.verdict("a").want_statistics
    play(gateway, 1)
    assert gateway.store.ledger.statistics_digests() == {}
    assert [row.reason for row in gateway.store.ledger.versions()] == ["initial", "merge"]
    gateway.close()


def test_class_sums_are_released_once(tmp_path: Path, package: Any) -> None:
    """Who comes later is not asked; a rollback makes the same head again, from the same sums, for nothing."""
    state = tmp_path / "state"
    gateway = opened(state, package, class_noise=0.01, train=Train(learning_rate=0.1))
    play(gateway, 1)
    head = gateway.conductor.bank.head
    assert set(account(state).sums) == {"a", "b"}
    assert account(state).releases == {0.01: 2}
    late = gateway.hello_with("c", ["rose rose"], [0])
    assert not gateway.verdict("c").want_statistics
    gateway.statistics("c", late)
    gateway.hello_with("a", ["leaf leaf"], [1])  # other data than at the release
    assert not gateway.verdict("a").want_statistics
    gateway.store.ledger.put(ROLLBACK, "0")
    gateway.tick()
    row = gateway.conductor.row
    assert [one.reason for one in gateway.store.ledger.versions()[-2:]] == ["rollback", "head"]
    assert gateway.conductor.bank.head.tobytes() == head.tobytes()
    assert account(state).releases == {0.01: 2}
    gateway.close()
    # A block of that version is damaged everywhere: it is made again, noise and all.
    digest = gateway.conductor.bank.digests()[HEAD].hex()
    (state / "blobs" / digest[:2] / digest[2:]).unlink()
    for path in (state / "versions").glob("*.bank"):
        path.unlink()
    again = opened(state, package, class_noise=0.01, train=Train(learning_rate=0.1))
    assert "made again from version" in again.store.notes[0]
    assert again.conductor.row == row
    again.close()


def test_what_was_spent_outlives_its_file(tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged account begins with what the newest version notes, and one merge that may not be in it."""
    state = tmp_path / "state"
    gateway = opened(state, package)
    play(gateway, 1, 2)
    gateway.close()
    seed = account(state).seed
    (state / NAME).write_bytes(b"{}")
    assert "PRIVACY" in verified(state, capsys)
    gateway = opened(state, package)
    assert any("PRIVACY is lost" in note for note in gateway.store.notes)
    assert account(state).releases == {0.01: 3}
    assert account(state).seed != seed
    play(gateway, 3)
    assert account(state).releases == {0.01: 4}
    gateway.close()


def test_an_older_backup_does_not_give_back_what_was_spent(tmp_path: Path, package: Any) -> None:
    """What was released since it was made stays counted, when the state that counted it is still there."""
    state = tmp_path / "state"
    gateway = opened(state, package)
    play(gateway, 1)
    gateway.close()
    back_up(state, tmp_path / "backup")
    gateway = opened(state, package)
    play(gateway, 2, 3)
    gateway.close()
    restore(tmp_path / "backup", state, 0.0, set_aside=True)
    assert account(state).releases == {0.01: 3}
    gateway = opened(state, package)
    assert notes_of(gateway.conductor.row).rules.privacy is not None
    play(gateway, 4)
    gateway.close()


def test_a_merge_that_is_made_once_more_counts_once() -> None:
    """A kill between the account and the version: the same deltas have the same noise."""
    nothing = PrivacyAccount(b"s" * 32)
    once = nothing.with_release(1.0, b"merge 1")
    assert once.with_release(1.0, b"merge 1") == once
    assert once.with_release(1.0, b"merge 2").releases == {1.0: 2}
    assert nothing.at_least(once).releases == {1.0: 1}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (
            {"limits": Limits()},
            "privacy.enabled wants limits.norm_factor = 0: a device would be refused by what others",
        ),
        ({"round": RoundRules()}, "round.max_staleness = 0: a device would be in a merge more than once"),
        ({"robust": RobustMerging(enabled=True)}, "robust.enabled = false"),
        ({"privacy": PrivacyTable(enabled=True, noise=0)}, "privacy.noise 0, expected more than 0"),
        ({"privacy": PrivacyTable(enabled=True, delta=1)}, "privacy.delta 1, expected more than 0 and less than 1"),
        ({"privacy": PrivacyTable(enabled=True, class_noise=-1)}, "privacy.class_noise -1, expected 0 or more"),
    ],
)
def test_settings_that_break_the_account_are_refused(fields: dict[str, Any], error: str) -> None:
    """Each by name, with what it would do."""
    values = {"limits": LIMITS, "round": RULES, "privacy": PrivacyTable(enabled=True)}
    assert GatewayConfig(Path("p"), **values).privacy.enabled
    with pytest.raises(UsageError, match=error):
        GatewayConfig(Path("p"), **(values | fields))


def test_what_cannot_be_promised_is_refused_at_the_start(tmp_path: Path, package: Any) -> None:
    """Nothing to learn, a budget below one merge, a past without privacy, a gate whose use goes into plans."""
    with pytest.raises(UsageError, match="without class sums and with a head that is not trained"):
        opened(tmp_path / "head", package, train=Train())
    with pytest.raises(UsageError, match=r"one merge with privacy.noise 0.1 costs epsilon .* the budget .* is 8"):
        opened(tmp_path / "budget", package, noise=0.1, epsilon=8.0)
    plain = Gateway(tmp_path / "past", package, rounds=0, round=RULES)
    for device in TEXTS:
        plain.hello(device)
    plain.tick()
    for device in TEXTS:
        plain.train(device)
    plain.tick()
    plain.close()
    with pytest.raises(UsageError, match=r"version 1 in .* was made without"):
        opened(tmp_path / "past", package)
    topk = tiny.make_package(tmp_path / "topk", gate="topk")
    with pytest.raises(UsageError, match=r"privacy\.enabled with a top-k gate"):
        opened(tmp_path / "gate", topk)
