"""Buffered merging in a gateway as it runs: embedded broker, real MQTT clients, kill -9."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from scripted import Device
from test_broker_service import TEXTS, Process, Running, config

from broker_server.config_tables import RoundRules
from broker_server.state.store import Store
from broker_server.views.reading import reading
from broker_server.views.status import read_status
from edge_runtime.wire import wire_pb2 as pb

BUFFER = RoundRules(quorum=3, join_wait_s=0.0, deadline_s=60.0, buffer=2, max_staleness=20)


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


def checked(state: Path, devices: list[Device], merges: int) -> None:
    """Look at what is left: merges have two deltas or more, and each that was accepted is in one version at most."""
    store = Store.open_read_only(state)
    rows = [row for row in store.ledger.versions() if row.reason == "merge"]
    folded = {row.version: store.ledger.merged_into(row.version) for row in rows}
    kept = {digest.hex() for digest in store.ledger.delta_digests()}
    store.ledger.close()
    assert len(rows) == merges
    assert all(len(deltas) == row.contributors >= 2 for row, deltas in zip(rows, folded.values(), strict=True))
    digests = [row.digest.hex() for deltas in folded.values() for row in deltas]
    assert len(digests) == len(set(digests))
    for device in devices:
        verdicts = [verdict for verdict in device.verdicts if verdict.kind == pb.DELTA]
        told = {verdict.digest.hex() for verdict in verdicts if verdict.code == pb.ACCEPTED}
        assert told
        assert told <= kept
        # What came after the last merge is told so.
        assert {verdict.code for verdict in verdicts} <= {pb.ACCEPTED, pb.STALE, pb.INCOMPLETE, pb.BUSY}


def finish(devices: list[Device]) -> None:
    """Let devices take part until the end."""
    for device in devices:
        device.wait(lambda one: one.finished)
        device.leave()


def of_c(event: dict[str, Any]) -> bool:
    """Return whether an event tells that a delta of c was accepted."""
    return event["event"] == "delta" and event["device"] == "c" and event["code"] == "ACCEPTED"


def test_devices_train_on_while_others_are_slow(tmp_path: Path, package: Any) -> None:
    """While c trains from version 1, a and b make more; then its delta counts, as many merges late."""
    running = Running(config(tmp_path, rounds=4, round=BUFFER))
    quick = [Device(running.url, package, name, texts=TEXTS[name], limit=2) for name in "ab"]
    slow = Device(running.url, package, "c", texts=TEXTS["c"], limit=0)
    for device in quick:  # its Hello, its class sums, two deltas
        device.wait(lambda one: sum(verdict.code == pb.ACCEPTED for verdict in one.verdicts) >= 4)
    for device in (slow, *quick):
        device._limit = 99
        device.begin()
        device.wait(lambda one: len(one.plans) >= 2)
    finish([*quick, slow])
    running.wait()
    checked(tmp_path / "state", [*quick, slow], 4)
    assert slow.plans[0].base_version == 1
    told = [
        event for event in running.told if (event["event"] == "version" and event["reason"] == "merge") or of_c(event)
    ]
    before = next(number for number, event in enumerate(told) if of_c(event))  # two, or one of three deltas
    assert told[before]["staleness"] == before >= 1
    assert [event["closed"] for event in running.events("version") if event["reason"] == "merge"] == ["buffer full"] * 4
    assert running.events("finished")[0]["rounds"] == 4


def test_a_killed_gateway_goes_on_with_its_buffer(tmp_path: Path, package: Any) -> None:
    """Kill -9 after the second merge: no accepted delta is lost or counts twice, and the federation ends as planned."""
    (tmp_path / "gateway.toml").write_text("[round]\nbuffer = 2\nmax_staleness = 20\n")
    options = ("--rounds", "4", "--config", str(tmp_path / "gateway.toml"))
    first = Process(tmp_path, *options)
    devices = [Device(first.url, package, name, texts=TEXTS[name]) for name in TEXTS]
    first.wait_for("version", version=3)
    first.kill()
    with reading(tmp_path / "state") as ledger:
        status = read_status(ledger, 0.0)
    assert (status.buffer, status.works) == (2, False)
    assert status.plain()["buffered"] == status.buffered
    second = Process(tmp_path, *options, "--port", first.url.rsplit(":", 1)[1])
    finish(devices)
    second.wait_for("finished")
    assert second.process.wait(30) == 0
    checked(tmp_path / "state", devices, 4)
    lines = [json.loads(line) for line in (tmp_path / "state" / "journal.jsonl").read_text().splitlines()]
    assert {line["reason"] for line in lines} == {"buffer full"}
