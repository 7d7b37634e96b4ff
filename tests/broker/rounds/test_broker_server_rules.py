"""Merging beyond the mean, at a gateway: the same bytes over restarts and when a version is made again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.cli import run
from broker_server.config_tables import RoundRules, Train
from broker_server.engine import block_merging
from broker_server.rules.round import State
from broker_server.server_config import RobustMerging, Server
from broker_server.state.moments import notes_of
from broker_server.state.settings_table import ROLLBACK
from edge_runtime.wire.experts import HEAD, ExpertId
from edge_runtime.wire.messages import encode

DEVICES = "abcdefg"
INT8 = Train(learning_rate=0.1, codec_down="int8")
SETTINGS: dict[str, dict[str, Any]] = {
    "yogi": {"server": Server(optimizer="yogi", rate=0.1, normalize_steps=False)},
    "momentum": {"server": Server(optimizer="momentum", normalize_steps=True), "train": INT8},
    "robust": {"robust": RobustMerging(enabled=True), "server": Server(normalize_steps=True)},
    "all": {"robust": RobustMerging(enabled=True), "server": Server("adam", normalize_steps=True), "train": INT8},
}


MERGING = {
    "yogi": "merging yogi at a rate of 0.1",
    "momentum": "merging steps taken out; momentum at a rate of 1",
    "robust": "merging robust, compares directions, trims 0.2; steps taken out",
    "all": "merging robust, compares directions, trims 0.2; steps taken out; adam at a rate of 0.01",
}
"""What status says of each."""


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path_factory.mktemp("tiny") / "package")


def opened(state: Path, package: Any, settings: dict[str, Any]) -> Gateway:
    """Return a gateway with seven devices: of each layer's experts some have five trainers or more, some fewer."""
    gateway = Gateway(state, package, **{"rounds": 0, "round": RoundRules(quorum=7, join_wait_s=0)} | settings)
    gateway.hello(*DEVICES)
    return gateway


def play(gateway: Gateway, *numbers: int) -> None:
    """Play rounds whose deltas are uneven numbers that depend on device, block and round, and of unequal steps."""
    for number in numbers:
        gateway.tick()
        assert gateway.conductor.state is State.OPEN
        for place, device in enumerate(DEVICES):
            plan, payload = gateway.plan(device)
            experts = tiny.uneven(plan, number, place)
            gateway.deliver(device, encode(tiny.delta(plan, payload, experts=experts, steps=1 + place)))
        gateway.tick()


def verified(state: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Verify a state by command; return its exit code and what it says."""
    capsys.readouterr()
    code = run(["verify", "--state", str(state)])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("name", SETTINGS)
def test_a_gateway_that_was_restarted_between_rounds_makes_the_same_versions(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Moments and usual norms outlive it; the newest merge is made again to the byte, whatever settings say then."""
    settings = SETTINGS[name]
    through = opened(tmp_path / "through", package, settings)
    play(through, 1, 2, 3)
    for number in (1, 2, 3):
        gateway = opened(tmp_path / "often", package, settings)
        play(gateway, number)
        row = gateway.conductor.row
        gateway.close()
    theirs = through.conductor.row
    assert (row.digest, row.residuals, row.server) == (theirs.digest, theirs.residuals, theirs.server)
    through.close()
    Gateway(tmp_path / "often", package).close()  # with other settings
    run(["status", "--state", str(tmp_path / "often")])
    assert MERGING[name] in " ".join(capsys.readouterr().out.split())
    assert "again from its deltas: the same bytes (version 3)" in verified(tmp_path / "often", capsys)[1]


def test_a_plain_gateway_notes_nothing(tmp_path: Path, package: Any) -> None:
    """Its rows are what they were, and no folder has moments."""
    gateway = opened(tmp_path / "state", package, {})
    play(gateway, 1)
    assert gateway.conductor.row.server == ""
    assert not (tmp_path / "state" / "moments").exists()
    gateway.close()


def moments_in(state: Path) -> set[str]:
    """Return the digests of the moments on the disk, in hex."""
    return {path.parent.name + path.name for path in (state / "moments").glob("*/*")}


def lose(state: Path, package: Any) -> Any:
    """Play three rounds, then lose one block's moments; return the newest row."""
    gateway = opened(state, package, SETTINGS["all"])
    play(gateway, 1, 2, 3)
    row, rows = gateway.conductor.row, gateway.store.ledger.versions()
    gateway.close()
    named = {digest.hex() for one in rows[-2:] for digest in notes_of(one).moments.values()}
    assert moments_in(state) == named  # of the newest merge and its parent alone
    digest = next(iter(notes_of(row).moments.values())).hex()
    (state / "moments" / digest[:2] / digest[2:]).unlink()
    return row


def test_lost_moments_are_made_again(tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """From the parent's and the deltas; verify says what is wrong before."""
    state = tmp_path / "state"
    row = lose(state, package)
    code, text = verified(state, capsys)
    assert code == 1
    assert "a moment of version 3 is missing" in text
    gateway = opened(state, package, SETTINGS["all"])
    assert gateway.store.notes[0].startswith("damaged: 1 file of residuals, moments and updates (")
    assert gateway.conductor.row == row
    gateway.close()
    assert verified(state, capsys)[0] == 0


def test_without_the_deltas_a_gateway_goes_on_without_these_moments(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The version stays, its row names fewer, and the next merge can be made again from it."""
    state = tmp_path / "state"
    row = lose(state, package)
    shutil.rmtree(state / "spool")
    gateway = opened(state, package, SETTINGS["all"])
    now = gateway.conductor.row
    assert now.digest == row.digest
    assert len(notes_of(now).moments) == len(notes_of(row).moments) - 1
    play(gateway, 4)
    gateway.close()
    assert "the same bytes (version 4)" in verified(state, capsys)[1]


def test_a_version_that_an_operator_brings_back_begins_without_moments(tmp_path: Path, package: Any) -> None:
    """What is usual is what was usual then: updates become smaller while a federation learns."""
    gateway = opened(tmp_path / "state", package, SETTINGS["all"])
    play(gateway, 1, 2)
    early = gateway.store.ledger.version(1)
    assert early is not None
    before, then = notes_of(gateway.conductor.row), notes_of(early)
    gateway.store.ledger.put(ROLLBACK, "1")
    gateway.tick()
    after = notes_of(gateway.conductor.row)
    assert before.moments
    assert before.norms != then.norms
    assert (gateway.conductor.row.reason, after.moments, after.norms) == ("rollback", {}, then.norms)
    gateway.close()


def test_a_new_head_keeps_the_experts_moments(tmp_path: Path, package: Any) -> None:
    """A head that is trained begins its own anew."""
    train = Train(learning_rate=0.1, head_share=1.0)
    gateway = opened(tmp_path / "state", package, SETTINGS["yogi"] | {"train": train})
    gateway.tick()
    for device in DEVICES:
        gateway.train(device, label_counts=[1.0, 1.0, 1.0])
    gateway.tick()
    before = notes_of(gateway.conductor.row).moments
    assert HEAD in before
    gateway.statistics("h", gateway.hello_with("h", ["rose rose", "leaf", "sky sky"], [0, 1, 2]))
    gateway.tick()
    assert gateway.conductor.row.reason == "head"
    assert notes_of(gateway.conductor.row).moments == {
        block: digest for block, digest in before.items() if block != HEAD
    }
    gateway.close()


def test_blocks_that_are_compared_apart_make_the_same_version(
    tmp_path: Path, package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by blocks: with room for one at a time the bits are the same."""
    digests = []
    for name, room in (("together", block_merging.ROBUST_BYTES), ("singly", 1)):
        monkeypatch.setattr(block_merging, "ROBUST_BYTES", room)
        gateway = opened(tmp_path / name, package, SETTINGS["all"])
        play(gateway, 1, 2)
        digests.append((gateway.conductor.row.digest, gateway.conductor.row.server))
        gateway.close()
    assert digests[0] == digests[1]


def first_values(tmp_path: Path, package: Any, settings: dict[str, Any], values: Sequence[float]) -> list[float]:
    """Return where a round moves blocks whose devices each send one value, by 1, 2, 3, ... steps."""
    gateway = opened(tmp_path / "state", package, settings)
    gateway.tick()
    start = gateway.conductor.bank
    plans = {device: gateway.plan(device)[0] for device in DEVICES}
    for place, (device, value) in enumerate(zip(DEVICES, values, strict=True)):
        gateway.train(device, value=value, steps=1 + place)
    gateway.tick()
    shared = ExpertId(0, 65535)
    assert all(any((ref.layer, ref.index) == (0, 65535) for ref in plan.train) for plan in plans.values())
    moved = gateway.conductor.bank.block(shared).astype(float) - start.block(shared)
    gateway.close()
    return [round(float(value), 6) for value in moved[:3]]


def test_a_turned_and_a_huge_delta_do_not_steer_a_robust_gateway(tmp_path: Path, package: Any) -> None:
    """Of seven one at each side is left out, the last was cut before: the mean of 0.01 to 0.05 is 0.03."""
    values = (-0.03, 0.01, 0.02, 0.03, 0.04, 0.05, 0.3)
    settings = {"robust": RobustMerging(enabled=True, directions=False)}
    assert first_values(tmp_path, package, settings, values) == [0.03] * 3


def test_whoever_points_away_is_left_out_before_values_are_compared(tmp_path: Path, package: Any) -> None:
    """The first of seven is; of the six others one at each side is left out by value: the mean of 0.02 to 0.05."""
    values = (-0.03, 0.01, 0.02, 0.03, 0.04, 0.05, 0.3)
    settings = {"robust": RobustMerging(enabled=True)}
    assert first_values(tmp_path, package, settings, values) == [0.035] * 3


def test_a_gateway_takes_the_steps_out(tmp_path: Path, package: Any) -> None:
    """Six devices moved 0.001 a step, one 0.002, which is cut to 0.0015: 0.0075 / 7, times the mean of 1 to 7 steps."""
    values = [0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.014]
    settings = {"server": Server(normalize_steps=True)}
    assert first_values(tmp_path, package, settings, values) == [round(0.0075 / 7 * 4, 6)] * 3
