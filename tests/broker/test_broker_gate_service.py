"""The gate in a gateway as it runs: real evaluator, embedded broker, real MQTT clients, kill -9 while it measures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from scripted import Device
from test_broker_service import TEXTS, TRAIN, Process, Running, config
from tiny_gateway import Gateway

from broker_server.config_tables import RoundRules
from broker_server.gate_config import Gate
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import file_sha256

HELD_OUT = "text,label\nrose rose leaf,red\nleaf,green\nsky,blue\nsky sky rose,blue\n"
HEAD_TRAINED = replace(TRAIN, head_share=1.0)
TURNED = frozenset({1})


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package, with texts to measure versions on."""
    (tmp_path / "held.csv").write_text(HELD_OUT)
    return tiny.make_package(tmp_path / "package")


def devices_of(url: str, package: Any) -> list[Device]:
    """Return three devices that turn the head round in the first round, and leave it alone after that."""
    return [Device(url, package, name, slots=2, texts=TEXTS[name], turned=TURNED) for name in TEXTS]


def finish(devices: list[Device]) -> None:
    """Let devices take part until the end."""
    for device in devices:
        device.wait(lambda one: one.finished)
        device.leave()


def lineage(state: Path) -> list[tuple[int, int | None, str, str]]:
    """Return (number, parent, reason, digest) of each version."""
    store = Store.open_read_only(state)
    rows = [(row.version, row.parent, row.reason, row.digest.hex()) for row in store.ledger.versions()]
    store.ledger.close()
    return rows


def test_a_round_that_turns_the_head_round_reaches_no_device(tmp_path: Path, package: Any) -> None:
    """Accuracy falls from 1 to 0: version 3 is version 1 again, devices train from it, and round 2 is served."""
    settings = config(
        tmp_path, rounds=2, evaluate=tmp_path / "held.csv", gate=Gate(hold=True, margin=0.01), train=HEAD_TRAINED
    )
    running = Running(settings)
    devices = devices_of(running.url, package)
    finish(devices)
    running.wait()
    rows = lineage(tmp_path / "state")
    assert [row[:3] for row in rows] == [
        (0, None, "initial"), (1, 0, "head"), (2, 1, "merge"), (3, 1, "gate"), (4, 3, "merge"),
    ]  # fmt: skip
    assert rows[3][3] == rows[1][3]
    (event,) = running.events("not_served")
    assert (event["version"], event["value"], event["reference"], event["again"]) == (2, 0.0, 1.0, 3)
    assert [one["version"] for one in running.events("version")] == [1, 4]
    seen = {plan.base_version for device in devices for plan in device.plans}
    assert seen == {1, 3}
    assert {verdict.code for device in devices for verdict in device.verdicts if not verdict.retry_after_s} == {
        pb.ACCEPTED
    }


def test_killed_while_it_measures(tmp_path: Path, package: Any) -> None:
    """The next start measures the version that waits, and ends with the bytes of a gateway that nobody killed."""
    (tmp_path / "gateway.toml").write_text('evaluate = "held.csv"\n[gate]\nhold = true\n')
    options = ("--rounds", "2", "--config", str(tmp_path / "gateway.toml"), "--head-share", "1")
    first = Process(tmp_path, *options)
    devices = devices_of(first.url, package)
    assert first.wait_for("held")["version"] == 2
    first.kill()
    second = Process(tmp_path, *options, "--port", first.url.rsplit(":", 1)[1])
    finish(devices)
    second.wait_for("finished")
    assert second.process.wait(30) == 0
    whole = Running(
        config(
            tmp_path,
            state=tmp_path / "whole",
            rounds=2,
            evaluate=tmp_path / "held.csv",
            gate=Gate(hold=True),
            train=HEAD_TRAINED,
        )
    )
    finish(devices_of(whole.url, package))
    whole.wait()
    assert lineage(tmp_path / "state") == lineage(tmp_path / "whole")
    line = json.loads((tmp_path / "state" / "journal.jsonl").read_text().splitlines()[-1])
    assert (line["round"], line["gate"]) == (2, "served")


def test_killed_between_the_measurement_and_the_decision(tmp_path: Path, package: Any) -> None:
    """The version was measured and nothing was decided: the next start measures it again, and decides."""
    held = tmp_path / "held.csv"
    before = Gateway(
        tmp_path / "state", package, rounds=1, round=RoundRules(quorum=2, join_wait_s=0), gate=Gate(hold=True),
        evaluate=held,
    )  # fmt: skip
    before.hello("a", "b")
    before.tick()
    before.train("a")
    before.train("b")
    before.tick()
    before.store.ledger.keep_evaluation(1, f"held.csv@{file_sha256(held)[:12]}", (0.25, 0.1, 4), 1.0)
    before.close()
    running = Running(config(tmp_path, rounds=1, evaluate=held, gate=Gate(hold=True), linger_s=0.0))
    running.wait()
    assert [(row[0], row[2]) for row in lineage(tmp_path / "state")] == [(0, "initial"), (1, "merge")]
    assert [event["version"] for event in running.events("version")] == [1]
