"""The gateway as it runs: embedded broker, real MQTT clients, separate processes, kill -9."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import tiny
from scripted import Device

from broker_server.broker.embedded import EmbeddedBroker
from broker_server.broker.mosquitto import installed
from broker_server.config import GatewayConfig
from broker_server.config_tables import Limits, Listen, RoundRules, Train
from broker_server.errors import ListenError, StateError
from broker_server.events import Events
from broker_server.service import Service, Stop
from broker_server.state.ledger import NAME, Ledger
from broker_server.state.rows import VersionRow
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import Cut
from edge_runtime.wire.errors import DataError, PackageError
from edge_runtime.wire.topics import Topic

TRAIN = Train(steps=10, learning_rate=0.5, codec="auto", codec_down="float32")
"""Exact, so that sums can be computed by hand."""

TEXTS = {"a": [("rose", 0), ("rose rose", 0)], "b": [("leaf", 1), ("leaf rose leaf leaf", 1)], "c": [("sky", 2)]}


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


def config(tmp_path: Path, **fields: Any) -> GatewayConfig:
    """Return settings for a quick federation on a free port."""
    values = {
        "state": tmp_path / "state", "rounds": 3, "linger_s": 20.0,
        "round": RoundRules(quorum=3, join_wait_s=0.0, deadline_s=60.0),
        "listen": Listen(port=0), "train": TRAIN, "limits": Limits(blob_window_s=0.05),
    }  # fmt: skip
    return GatewayConfig(tmp_path / "package", **(values | fields))


class Running:
    """A service on a thread, with the events it told."""

    def __init__(self, settings: GatewayConfig) -> None:
        self.told: list[dict[str, Any]] = []
        events = Events()
        events.watch(self.told.append)
        self._stop = Stop()
        self.service = Service(settings, events, self._stop)
        self.url = self.service.url
        self.result: list[Any] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result.append(self.service.run())
        except Exception as error:  # noqa: BLE001 - the test must see it
            self.result.append(error)

    def wait(self, seconds: float = 60.0) -> None:
        """Wait for the end."""
        self._thread.join(seconds)
        assert self.result == [True], self.result or self.told[-5:]
        self.service.close()

    def stop(self) -> None:
        """End early."""
        self._stop.ask()
        self._thread.join(30)
        self.service.close()

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of a kind."""
        return [event for event in self.told if event["event"] == kind]


def play(running: Running, package: Any, **options: Any) -> list[Device]:
    """Let three devices of three sizes take part until the end."""
    slots = {"a": 1, "b": 2, "c": 4}
    devices = [Device(running.url, package, name, slots=slots[name], texts=TEXTS[name], **options) for name in slots]
    for device in devices:
        device.wait(lambda one: one.finished)
        device.leave()
    return devices


def test_three_devices_three_rounds(tmp_path: Path, package: Any) -> None:
    """Statistics, head, plans, blocks, deltas, versions, evaluation of each, and the end; every figure told."""
    held_out = tmp_path / "held.csv"
    held_out.write_text("text,label\nrose rose leaf,red\nleaf,green\nsky,blue\nsky sky rose,blue\n")
    running = Running(config(tmp_path, evaluate=held_out))
    devices = play(running, package)
    running.wait()
    codes = {verdict.code for device in devices for verdict in device.verdicts if not verdict.retry_after_s}
    assert codes == {pb.ACCEPTED}
    versions = running.events("version")
    assert [event["reason"] for event in versions] == ["head", "merge", "merge", "merge"]
    assert [event["accepted"] for event in versions[1:]] == [3, 3, 3]
    # 1 + 2 + 4 slots over 4 experts: each expert has one or two trainers in each round.
    assert {(event["trainers_min"], event["trainers_max"]) for event in versions[1:]} == {(1, 2)}
    measured = {event["version"]: event["accuracy"] for event in running.events("evaluated")}
    assert sorted(measured) == [0, 1, 2, 3, 4]
    assert measured[1] == 1.0
    (finished,) = running.events("finished")
    assert set(finished["devices"]) == {"a", "b", "c"}
    for name in "abc":
        deltas = sum(event["bytes"] for event in running.events("delta") if event["device"] == name)
        assert finished["devices"][name]["bytes_up"] > deltas > 0
    assert finished["bytes_down"] > 0
    ledger = Ledger(tmp_path / "state" / NAME, read_only=True)
    assert [row.version for row in ledger.versions()] == [0, 1, 2, 3, 4]
    assert ledger.evaluations()[1]["accuracy"] == 1.0
    ledger.close()
    lines = (tmp_path / "state/journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [1, 2, 3]


def test_versions_made_while_nobody_measured_are_measured_later(tmp_path: Path, package: Any) -> None:
    """A start with --evaluate measures what is missing, once."""
    running = Running(config(tmp_path, rounds=1))
    play(running, package)
    running.wait()
    held_out = tmp_path / "held.csv"
    held_out.write_text("text,label\nrose,red\n")
    for expected in ([0, 1, 2], []):
        again = Running(config(tmp_path, rounds=1, evaluate=held_out, linger_s=0.0))
        again.wait()
        assert [event["version"] for event in again.events("evaluated")] == expected


def test_same_devices_make_the_same_versions(tmp_path: Path, package: Any) -> None:
    """Whatever the order of arrival, two federations of the same devices end byte for byte alike."""
    digests = []
    for name in ("one", "two"):
        running = Running(config(tmp_path, state=tmp_path / name))
        play(running, package)
        running.wait()
        digests.append(running.service.conductor.row.digest)
    assert digests[0] == digests[1]


def test_uplink_budget_switches_a_device_to_int8(tmp_path: Path, package: Any) -> None:
    """Its deltas come in int8, the others' in float32, and both are merged."""
    running = Running(config(tmp_path, rounds=1))
    small = Device(running.url, package, "a", slots=2, texts=TEXTS["a"], bytes_up_per_round=900)
    others = [Device(running.url, package, name, texts=TEXTS[name]) for name in "bc"]
    for device in (small, *others):
        device.wait(lambda one: one.finished)
        device.leave()
    running.wait()
    assert small.plans[0].codec == pb.INT8
    assert others[0].plans[0].codec == pb.FLOAT32
    sent = {event["device"]: event["bytes"] for event in running.events("delta")}
    assert sent["a"] <= 900


def test_stopped_gateway_says_it_is_offline(tmp_path: Path, package: Any) -> None:
    """Ctrl-C in the middle: devices hear it, and a new start goes on with the round."""
    running = Running(config(tmp_path, round=RoundRules(quorum=1, join_wait_s=0.0)))
    device = Device(running.url, package, "a", texts=TEXTS["a"], limit=0)
    device.wait(lambda one: one.plans)
    running.stop()
    assert running.result == [False]
    device.leave()
    again = Running(config(tmp_path, round=RoundRules(quorum=1, join_wait_s=0.0)))
    assert again.events("resumed")[0]["planned"] == ["a"]
    again.stop()


@pytest.mark.skipif(installed() is None, reason="mosquitto is not installed; make broker-tools installs it")
def test_external_broker(tmp_path: Path, package: Any) -> None:
    """With --broker the gateway is a client among others, of a broker that somebody else runs; here in MQTT 5."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    command = [installed() or "", "-c", str(tmp_path / "mosquitto.conf")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as broker:
        assert any(" running" in line for line in broker.stderr or ())
        running = Running(config(tmp_path, broker=f"mqtt://gateway:gehe1m@127.0.0.1:{port}", mqtt="5", rounds=1))
        assert "gehe1m" not in json.dumps(running.events("listening"))
        play(running, package)
        running.wait()
        broker.terminate()


@pytest.mark.skipif(installed() is None, reason="mosquitto is not installed; make broker-tools installs it")
def test_a_supervised_mosquitto_is_killed_in_each_round(tmp_path: Path, package: Any, whole: bytes) -> None:
    """Kill -9 of the broker costs nothing: the versions are those of an unharmed run; it ends with the gateway."""
    running = Running(config(tmp_path, broker="mosquitto", rounds=2))
    pids = set()

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "round":
            pids.add(mosquitto_of(running))
            os.kill(mosquitto_of(running), signal.SIGKILL)

    running.service._events.watch(kill)
    play(running, package)
    running.wait()
    assert len(pids) == 2
    assert running.service.conductor.row.digest == whole
    assert [row.contributors for row in merges(tmp_path)] == [3, 3]
    assert sum("killed by SIGKILL" in event["detail"] for event in running.events("broker")) == 2


def mosquitto_of(running: Running) -> int:
    """Return the process of a gateway's Mosquitto."""
    broker = running.service._broker
    assert broker is not None
    assert broker._mosquitto is not None
    assert broker._mosquitto._process is not None
    return broker._mosquitto._process.pid


def merges(tmp_path: Path) -> list[VersionRow]:
    """Return the versions that rounds made."""
    store = Store.open_read_only(tmp_path / "state")
    rows = [row for row in store.ledger.versions() if row.reason == "merge"]
    store.close()
    return rows


@pytest.mark.usefixtures("package")
def test_broker_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    """It says so and keeps trying; when the broker comes, so do the rounds."""
    probe = EmbeddedBroker("127.0.0.1", 0)
    port = probe.start().port
    probe.stop()
    running = Running(config(tmp_path, broker=f"mqtt://127.0.0.1:{port}", rounds=1))
    waiting = threading.Event()
    for _ in range(600):
        if running.events("down"):
            break
        waiting.wait(0.05)
    assert "does not answer" in running.events("down")[0]["reason"]
    running.stop()


@pytest.mark.usefixtures("package")
def test_start_errors_leave_nothing_running(tmp_path: Path) -> None:
    """Port in use, second gateway, unusable data, tampered package: each told, and the directory is free again."""
    broker = EmbeddedBroker("127.0.0.1", 0)
    port = broker.start().port
    with pytest.raises(ListenError, match=f"port {port}"):
        Service(config(tmp_path, listen=Listen(port=port)), Events())
    broker.stop()
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="the columns a, b with commas between them in its first line"):
        Service(config(tmp_path, evaluate=tmp_path / "bad.csv"), Events())
    first = Service(config(tmp_path), Events())
    with pytest.raises(StateError, match="in use by another gateway"):
        Service(config(tmp_path), Events())
    first.close()
    first.close()
    bank = tmp_path / "package/bank.safetensors"
    bank.write_bytes(bank.read_bytes()[:-1] + b"!")
    with pytest.raises(PackageError, match="was changed"):
        Service(config(tmp_path), Events())


class Process:
    """``broker_server run`` as a process of its own."""

    def __init__(self, tmp_path: Path, *options: str) -> None:
        self.events = tmp_path / "events.jsonl"
        command = [
            sys.executable, "-m", "broker_server", "run", "--package", str(tmp_path / "package"), "--state",
            str(tmp_path / "state"), "--port", "0", "--join-wait", "0", "--quorum", "3", "--lr", "0.5", "--linger",
            "20", "--steps", "10", "--codec", "auto", "--codec-down", "float32", "--json", *options,
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.told: list[dict[str, Any]] = []
        self.url = self.wait_for("listening")["url"]

    def wait_for(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Return the first event of this kind with these fields, reading on until it comes."""
        assert self.process.stdout is not None
        wanted = {"event": kind} | fields
        for event in self.told:
            if all(event.get(name) == value for name, value in wanted.items()):
                return event
        for line in self.process.stdout:
            self.told.append(json.loads(line))
            if all(self.told[-1].get(name) == value for name, value in wanted.items()):
                return self.told[-1]
        _, errors = self.process.communicate()
        pytest.fail(f"no {kind} came; {errors[-2000:]}")

    def kill(self) -> None:
        """Take its life, now."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def whole(tmp_path: Path, package: Any) -> bytes:
    """Return the digest of the last version of a federation that nobody killed."""
    running = Running(config(tmp_path, state=tmp_path / "whole", rounds=2))
    play(running, package)
    running.wait()
    return running.service.conductor.row.digest


def test_killed_gateway_goes_on(tmp_path: Path, package: Any, whole: bytes) -> None:
    """Kill -9 in an open round: the same plans, no delta lost or twice, the versions of an unharmed run."""
    first = Process(tmp_path, "--rounds", "2")
    port = first.url.rsplit(":", 1)[1]
    slots = {"a": 1, "b": 2, "c": 4}
    devices = {
        name: Device(first.url, package, name, slots=count, texts=TEXTS[name], limit=0 if name == "c" else 9)
        for name, count in slots.items()
    }
    first.wait_for("delta", device="a")
    first.wait_for("delta", device="b")
    devices["c"].wait(lambda one: one.plans)
    first.kill()
    second = Process(tmp_path, "--rounds", "2", "--port", port)
    event = second.wait_for("resumed")
    assert event["round"] == 1
    assert event["accepted"] == ["a", "b"]
    devices["c"]._limit = 9  # c had its plan before the kill; only now does it train
    for device in devices.values():
        device.wait(lambda one: one.finished)
        device.leave()
    first_round = {plan.SerializeToString() for plan in devices["c"].plans if plan.round == 1}
    assert len(first_round) == 1
    second.wait_for("finished")
    assert second.process.wait(30) == 0
    assert [row.contributors for row in merges(tmp_path)] == [3, 3]
    store = Store.open_read_only(tmp_path / "state")
    assert store.ledger.version().digest == whole  # type: ignore[union-attr]
    store.close()


class Stalling(Device):
    """Sends twelve chunks of its delta, asks what arrived, and sends nothing more before it may."""

    calls: list[tuple[int, ...]]
    may_go_on = False

    def _called(self, topic: Topic, cut: Cut, missing: tuple[int, ...]) -> None:
        if topic is not Topic.DELTA:
            super()._called(topic, cut, missing)
            return
        self.calls = [*getattr(self, "calls", []), missing]
        if self.may_go_on:
            super()._called(topic, cut, missing)
        elif len(self.calls) == 1:
            super()._called(topic, cut, missing[:12])
            self._offer(cut)


def test_a_gateway_that_is_started_anew_asks_for_the_chunks_that_lack(tmp_path: Path, package: Any) -> None:
    """Twelve chunks came before it was stopped: the others come after, and no byte of the body twice."""
    rules = RoundRules(quorum=1, join_wait_s=0.0, deadline_s=60.0)
    settings = config(tmp_path, rounds=1, round=rules)
    first = Running(settings)
    device = Stalling(first.url, package, "a", texts=TEXTS["a"], slots=4, piece=10)
    device.wait(lambda one: len(getattr(one, "calls", ())) == 2)
    first.stop()
    device.may_go_on = True
    port = int(first.url.rsplit(":", 1)[1])
    second = Running(config(tmp_path, rounds=1, round=rules, listen=Listen(port=port)))
    device.wait(lambda one: one.finished)
    device.leave()
    second.wait()
    count = len(device.calls[0])
    assert count > 20
    assert device.calls == [tuple(range(count)), tuple(range(12, count)), tuple(range(12, count))]
    assert [event["code"] for event in second.events("delta")] == ["ACCEPTED"]
    assert list((tmp_path / "state" / "pieces").iterdir()) == []


def test_interrupted_process_ends_in_order(tmp_path: Path, package: Any) -> None:
    """SIGINT: exit code 0, the state directory is free."""
    process = Process(tmp_path)
    process.process.send_signal(signal.SIGINT)
    process.wait_for("stopped")
    assert process.process.wait(30) == 0
    Store.open(tmp_path / "state", package, 0.0).close()
