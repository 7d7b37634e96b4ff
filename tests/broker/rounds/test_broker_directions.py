"""Trust by direction at a gateway: who turns its updates is left out, and people see who it is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from served import ask
from turned_updates import DEVICES, HONEST, LIAR, as_json, opened, play, told, trust

from broker_server.cli import run
from broker_server.config_tables import RoundRules
from broker_server.engine import block_merging
from broker_server.journal import JOURNAL
from broker_server.rounds import round_plans
from broker_server.rules.planner import Coverage
from broker_server.server_config import RobustMerging
from broker_server.state.moments import notes_of
from broker_server.state.rows import TrustRow
from broker_server.web.page import Page, listen
from broker_server.web.tally import Tally
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import ExpertId, shared_expert
from edge_runtime.wire.messages import encode, ids

SHARED = shared_expert(0)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path_factory.mktemp("tiny") / "package")


def test_who_turns_its_updates_is_left_out_and_the_bank_is_the_mean_of_the_others(tmp_path: Path, package: Any) -> None:
    """In each of three rounds, from the first on, and with a restart before each; the device is told of none of it."""
    for number in (1, 2, 3):
        gateway = opened(tmp_path / "state", package)
        wanted = play(gateway)
        row = gateway.conductor.row
        assert (row.version, row.contributors, notes_of(row).distrusted) == (number, 5, (LIAR,))
        for block in wanted.shape.ids():
            np.testing.assert_allclose(gateway.conductor.bank.block(block), wanted.block(block), atol=1e-8)
        assert told(gateway, "distrusted") == [
            {"event": "distrusted", "at": 0.0, "device": LIAR, "round": number, "version": number}
        ]
        about = told(gateway, "version")[-1]
        assert (about["accepted"], about["distrusted"], about["left_out"]) == (6, 1, 0)
        assert gateway.store.ledger.waiting() == []
        assert {device: row.left_out_since for device, row in trust(gateway).items()} == {
            **dict.fromkeys(HONEST), LIAR: 1,
        }  # fmt: skip
        gateway.close()
    lines = [json.loads(line) for line in (tmp_path / "state" / JOURNAL).read_text().splitlines()]
    assert [(line["accepted"], line["distrusted"]) for line in lines] == [(6, 1)] * 3


def test_trust_is_what_the_rule_says_of_the_cosines(tmp_path: Path, package: Any) -> None:
    """All move alike but one, that moves against them: five cosines are 1 and -1; 0.1 is the most that is saved up."""
    gateway = opened(tmp_path / "state", package, RobustMerging(enabled=True, remember=0.5))
    for number in (1, 2):
        gateway.tick()
        for device in DEVICES:
            gateway.train(device, value=-0.01 if device == LIAR else 0.01)
        gateway.tick()
        values = {device: row.trust for device, row in trust(gateway).items()}
        assert values == pytest.approx(dict.fromkeys(HONEST, 0.1) | {LIAR: -1.0 if number == 1 else -1.5})
    gateway.close()


def test_who_is_left_out_is_heard_again_once_its_trust_has_risen(tmp_path: Path, package: Any) -> None:
    """A score of -0.9 or so is remembered: three honest rounds later it is above 0 again."""
    gateway = opened(tmp_path / "state", package, RobustMerging(enabled=True, trim=0.0, remember=0.3))
    play(gateway)
    assert notes_of(gateway.conductor.row).distrusted == (LIAR,)
    play(gateway, liar="nobody")
    assert trust(gateway)[LIAR].trust > 0
    assert trust(gateway)[LIAR].left_out_since is None
    assert (gateway.conductor.row.contributors, notes_of(gateway.conductor.row).distrusted) == (6, ())
    gateway.close()


def test_nobody_is_left_out_where_directions_are_off(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor named any more; what was known counts when they are compared again."""
    state = tmp_path / "state"
    gateway = opened(state, package)
    play(gateway)
    before = trust(gateway)[LIAR].trust
    gateway.close()
    gateway = opened(state, package, RobustMerging(enabled=True, directions=False))
    play(gateway)
    assert (gateway.conductor.row.contributors, told(gateway, "distrusted")) == (6, [])
    assert trust(gateway)[LIAR] == TrustRow(LIAR, before)
    gateway.close()
    run(["status", "--state", str(state)])
    assert "left out" not in capsys.readouterr().out


def test_a_buffer_leaves_out_likewise(tmp_path: Path, package: Any) -> None:
    """Six deltas are merged as soon as they came; what the liar is at work on is no reason for others to train less."""
    rules = RoundRules(quorum=6, join_wait_s=0, buffer=6, max_staleness=4)
    gateway = opened(tmp_path / "state", package, round=rules)
    for number in (1, 2):
        gateway.tick()
        for device in DEVICES:
            gateway.train(device, value=-0.01 if device == LIAR else 0.01)
        gateway.tick()
        row = gateway.conductor.row
        assert (row.version, row.contributors, notes_of(row).distrusted) == (number, 5, (LIAR,))
    gateway.tick()
    assert {device for device, _ in gateway.store.ledger.trained()} == set(HONEST)
    for device in "abce":  # these, and not the liar, are given the next plans while f is at work
        gateway.train(device)
    gateway.train(LIAR, value=-0.01)
    busy = ids(gateway.plan("f")[0].train)
    wanted = Counter(block for device in "abce" for block in ids(gateway.plan(device)[0].train))
    wanted.update(busy)
    asked: list[Coverage] = []
    honest_plan = round_plans.plan_round
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(round_plans, "plan_round", lambda *told: (asked.append(told[3]), honest_plan(*told))[1])
        gateway.tick()
    trained = Counter[ExpertId]()
    for (_, block), times in gateway.store.ledger.trained().items():
        trained[block] += times
    assert {block: asked[-1].total[block] - trained[block] for block in wanted} == wanted
    assert asked[-1].distrusted == {LIAR}
    gateway.close()


def test_four_devices_are_not_compared(tmp_path: Path, package: Any) -> None:
    """They have no majority: all are merged, and nothing is noted of anybody."""
    gateway = opened(tmp_path / "state", package, devices="abcd")
    play(gateway)
    assert (gateway.conductor.row.contributors, trust(gateway)) == (4, {})
    gateway.close()


def test_a_majority_is_never_left_out(tmp_path: Path, package: Any) -> None:
    """Half of a round are doubted from before: all are heard, and said to be."""
    gateway = opened(tmp_path / "state", package)
    with gateway.store.ledger.transaction():
        gateway.store.ledger.keep_trust([TrustRow(device, -9.0, 0) for device in "abc"])
    play(gateway, liar="nobody")
    assert (gateway.conductor.row.contributors, notes_of(gateway.conductor.row).distrusted) == (6, ())
    assert {row.left_out_since for row in trust(gateway).values()} == {None}
    gateway.close()


def test_blocks_that_are_compared_apart_say_the_same(
    tmp_path: Path, package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded by blocks: with room for one at a time trust has the same bits."""
    trusts = []
    for name, room in (("together", block_merging.ROBUST_BYTES), ("singly", 1)):
        monkeypatch.setattr(block_merging, "ROBUST_BYTES", room)
        gateway = opened(tmp_path / name, package, RobustMerging(enabled=True))
        play(gateway)
        play(gateway)
        trusts.append((trust(gateway), gateway.conductor.row.digest))
        gateway.close()
    assert trusts[0] == trusts[1]


def test_directions_are_of_updates_as_they_came(tmp_path: Path, package: Any) -> None:
    """A device whose shared experts are cut keeps its direction: long ones against the others, experts with them."""
    # Cut to 1.5 times the usual, they would weigh less beside the experts, and the cosines be nearer to 0.
    gateway = opened(tmp_path / "state", package, RobustMerging(enabled=True, trim=0.0))
    gateway.tick()
    for device in DEVICES:
        plan, payload = gateway.plan(device)
        lies = device == LIAR
        values = {
            block: np.full(tiny.SHAPE.size(block), -0.2 if block.shared and lies else 0.01, np.float32)
            for block in ids(plan.train)
        }
        experts = [pb.ExpertDelta(layer=b.layer, index=b.index, values=v.tobytes()) for b, v in values.items()]
        gateway.deliver(device, encode(tiny.delta(plan, payload, experts=experts)))
    own = set(ids(gateway.plan(LIAR)[0].train))
    cosines = []
    for device in HONEST:
        both = own & set(ids(gateway.plan(device)[0].train))
        size = {
            shared: sum(tiny.SHAPE.size(block) for block in both if block.shared is shared) for shared in (False, True)
        }
        product = 0.01 * (size[False] * 0.01 - size[True] * 0.2)
        lengths = (size[True] + size[False]) * 0.01**2 * (size[False] * 0.01**2 + size[True] * 0.2**2)
        cosines.append(product / np.sqrt(lengths))
    gateway.tick()
    assert trust(gateway)[LIAR].trust == pytest.approx(np.mean(cosines), rel=1e-6)
    gateway.close()


def test_who_is_left_out_does_not_say_what_is_usual(tmp_path: Path, package: Any) -> None:
    """Five move by 0.01 to 0.05, in which the median is 0.03; with the sixth, which is longest, it would be 0.035."""
    gateway = opened(tmp_path / "state", package, devices="abcdez")
    gateway.tick()
    for device, value in zip("abcdez", (0.01, 0.02, 0.03, 0.04, 0.05, -0.06), strict=True):
        gateway.train(device, value=value)
    gateway.tick()
    notes = notes_of(gateway.conductor.row)
    assert notes.distrusted == ("z",)
    assert notes.norms.medians["shared"] == (pytest.approx(0.03 * np.sqrt(tiny.SHAPE.size(SHARED))),)
    gateway.close()


def test_who_is_cut_is_told_once_whatever_it_trained(
    tmp_path: Path, package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device without the first of the blocks, which are compared one at a time, is cut all the same."""
    cuts = []
    for name, room in (("together", block_merging.ROBUST_BYTES), ("singly", 1)):
        monkeypatch.setattr(block_merging, "ROBUST_BYTES", room)
        gateway = opened(tmp_path / name, package, RobustMerging(enabled=True, directions=False))
        gateway.tick()
        trained = {device: set(ids(gateway.plan(device)[0].train)) for device in DEVICES}
        first = min(block for blocks in trained.values() for block in blocks)
        long = next(device for device in DEVICES if first not in trained[device])
        for device in DEVICES:
            gateway.train(device, value=0.5 if device == long else 0.01)
        gateway.tick()
        limits = sorted((event["device"], event["limit"]) for event in told(gateway, "limited"))
        assert limits == [(long, "norm of expert"), (long, "norm of shared")]
        cuts.append(told(gateway, "limited"))
        gateway.close()
    assert cuts[0] == cuts[1]


def test_status_devices_rounds_page_and_metrics_say_who_is_left_out(
    tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """In words, and for programs."""
    state = tmp_path / "state"
    gateway = opened(state, package)
    tally = Tally()
    play(gateway)
    play(gateway)
    for event in gateway.told:
        tally(event)
    listener = listen("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    page = Page(gateway.config, lambda: None, tally, listener)
    page.start()
    metrics, overview, devices = (ask(port, path).text for path in ("/metrics", "/fragment/figures", "/devices"))
    page.stop()
    assert "edge_gateway_deltas_distrusted_total 2.0" in metrics
    assert "edge_gateway_devices_distrusted 1.0" in metrics
    assert "1 device is left out of merges: d since version 1: updates point away from the others" in overview
    assert "left out since version 1" in devices
    gateway.close()
    status = as_json(state, capsys, "status")
    assert (status["distrusted"], status["merging"]) == ({LIAR: 1}, "robust, compares directions")
    about = {row["device"]: row for row in as_json(state, capsys, "devices")["devices"]}
    assert (about[LIAR]["left_out_since"], about["a"]["left_out_since"], about["a"]["trust"]) == (1, None, 0.1)
    assert about[LIAR]["trust"] < -1
    assert about[LIAR]["blocks_trained"] == 0
    assert [row["distrusted"] for row in as_json(state, capsys, "rounds")["rounds"]] == [1, 1]
    capsys.readouterr()
    for words, wanted in (
        (["status"], "left out d since version 1: updates point away from the others'"),
        (["devices"], "left out since version 1"),
        (["devices", LIAR], ", left out since version 1"),
        (["rounds"], "6 of 6, 1 left out"),
    ):
        run([*words, "--state", str(state)])
        assert wanted in " ".join(capsys.readouterr().out.split())
