"""Liars and strangers at a gateway as it runs: embedded broker, real MQTT clients (accuracies: benchmarks.attacks)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import tiny
from scripted import Device
from test_broker_service import Running, config

from broker_server.config_tables import Limits, RoundRules
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


def play(running: Running, devices: list[Device]) -> None:
    """Wait until all rounds are done."""
    for device in devices:
        device.wait(lambda one: one.finished)
        device.leave()
    running.wait()


def test_rounds_go_on_beside_a_silent_name_and_a_flood_of_hellos(tmp_path: Path, package: Any) -> None:
    """Two devices train; one name takes plans and never answers, one says Hello without end; a newcomer joins."""
    rules = RoundRules(quorum=2, join_wait_s=0.1, deadline_s=4.0, newcomer_wait_s=0.2)
    running = Running(config(tmp_path, round=rules, rounds=4, linger_s=1.0, limits=Limits(blob_window_s=0.05)))
    silent = Device(running.url, package, "silent", limit=0)
    silent.wait(lambda one: one.verdicts)
    honest = [Device(running.url, package, name) for name in "ab"]
    flood = Device(running.url, package, "flood", limit=0)
    flood.wait(lambda one: one.verdicts)
    flood.send(Topic.HELLO, [encode(tiny.hello(package, "flood", examples=number)) for number in range(500)])
    began = time.monotonic()
    newcomer = Device(running.url, package, "newcomer", limit=0)
    newcomer.wait(lambda one: one.verdicts)
    assert time.monotonic() - began < 5.0
    assert newcomer.verdicts[0].code == pb.ACCEPTED
    play(running, honest)
    for device in (silent, flood, newcomer):
        device.leave()
    merges = [event for event in running.events("version") if event["reason"] == "merge"]
    assert [event["accepted"] for event in merges] == [2, 2, 2, 2]
    assert "deadline" not in {event["closed"] for event in merges[1:]}
    assert "silent" in {event["device"] for event in running.events("rests")}


def test_a_liar_is_capped_and_told_of(tmp_path: Path, package: Any) -> None:
    """It claims 2^32 - 1 examples, its plan has room for 20; the others have 1: ten times the median, two thirds."""
    running = Running(config(tmp_path, rounds=2, linger_s=1.0))
    devices = [Device(running.url, package, name, examples=1) for name in "ab"]
    play(running, [*devices, Device(running.url, package, "liar", examples=2**32 - 1)])
    capped = [event for event in running.events("limited") if event["limit"] == "examples"]
    assert [(event["device"], event["came"], event["counted"]) for event in capped] == [("liar", 20.0, 4.0)] * 2
    assert [event["limited"] for event in running.events("version") if event["reason"] == "merge"] == [1, 1]
