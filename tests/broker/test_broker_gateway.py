"""``Gateway`` within a program: real broker, real MQTT, scripted devices."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import tiny
from scripted import Device

from broker_server import FederationError, Gateway, GatewayConfig, Status, load_config
from broker_server.errors import RoundError, StateError, UsageError
from edge_runtime.wire.errors import PackageError
from edge_runtime.wire.manifest import Package

TEXTS = [("rose", 0), ("rose rose", 0), ("leaf", 1)]


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A small package."""
    return tiny.make_package(tmp_path / "package")


def settings(folder: Path, **more: Any) -> GatewayConfig:
    """Return settings of a federation of one device, on free ports."""
    fields: dict[str, Any] = {
        "package": folder / "package", "state": folder / "state", "rounds": 2, "linger_s": 20.0,
        "round": {"quorum": 1, "join_wait_s": 0.0}, "listen": {"port": 0}, "web": {"port": 0},
        "train": {"steps": 10, "learning_rate": 0.5}, "limits": {"blob_window_s": 0.05},
    }  # fmt: skip
    return load_config(**(fields | more))


def test_a_gateway_from_start_to_its_last_round(tmp_path: Path, package: Package) -> None:
    """It listens when the block begins; versions come, status tells of them, and it ends by itself."""
    told: list[dict[str, Any]] = []
    with Gateway(settings(tmp_path), events=told.append) as gateway:
        assert gateway.running
        assert gateway.url == f"mqtt://127.0.0.1:{gateway.url.rpartition(':')[2]}"
        assert gateway.status().gateway == "running"
        assert not gateway.wait(version=1, timeout_s=0.0)
        device = Device(gateway.url, package, "a", slots=2, texts=TEXTS)
        assert gateway.wait(version=1, timeout_s=60)
        device.wait(lambda one: one.finished)
        device.leave()
        assert gateway.wait(timeout_s=60)
        assert not gateway.running
        status = gateway.status()
    numbers = [version.number for version in gateway.versions()]
    assert isinstance(status, Status)
    assert (status.gateway, status.version, status.round.number, status.accepted) == ("stopped", 3, 2, 2)
    assert numbers == [0, 1, 2, 3]
    assert [version.number for version in gateway.versions(newest=1)] == [3]
    assert {"listening", "version", "finished"} <= {event["event"] for event in told}
    assert not [thread for thread in threading.enumerate() if thread.name == "gateway"]


def test_a_block_that_ends_stops_it_and_another_goes_on(tmp_path: Path, package: Package) -> None:
    """Without an end of its own: the next gateway with the same state has its versions; one is started once."""
    first = Gateway(settings(tmp_path, rounds=0))
    with first as gateway:
        device = Device(gateway.url, package, "a", slots=2, texts=TEXTS)
        assert gateway.wait(version=2, timeout_s=60)
        with pytest.raises(StateError, match="is in use by another gateway"), Gateway(settings(tmp_path)):
            pass
        device.leave()
    assert not gateway.wait(timeout_s=0)
    assert not gateway.wait(version=99)
    with pytest.raises(RoundError, match="started before"), first:
        pass
    with Gateway(settings(tmp_path, rounds=0)) as gateway:
        assert gateway.wait(version=2, timeout_s=0)


def test_a_gateway_that_cannot_start_says_why(tmp_path: Path, package: Package) -> None:
    """Where the block would begin; nothing is left running."""
    (package.folder / "gateway/model.onnx").write_bytes(b"other")
    with pytest.raises(PackageError, match=r"model\.onnx"), Gateway(settings(tmp_path)):
        pass
    with pytest.raises(UsageError, match="unknown keys quora"):
        settings(tmp_path, round={"quora": 1})
    with pytest.raises(UsageError, match="cannot read configuration"):
        Gateway(tmp_path / "none.toml")
    assert not [thread for thread in threading.enumerate() if thread.name == "gateway"]


def test_what_ends_a_gateway_is_raised_where_somebody_waits(tmp_path: Path, package: Package) -> None:
    """A failure within it, here of the callback."""

    def fail(event: dict[str, Any]) -> None:
        if event["event"] == "version":
            raise FederationError("the callback failed")

    with Gateway(settings(tmp_path), events=fail) as gateway:
        device = Device(gateway.url, package, "a", slots=2, texts=TEXTS)
        with pytest.raises(FederationError, match="the callback failed"):
            gateway.wait(timeout_s=60)
        device.leave()


def test_a_callback_may_stop_it(tmp_path: Path, package: Package) -> None:
    """At the first version; nobody waits for the thread that asks."""
    gateway = Gateway(
        settings(tmp_path, rounds=0), events=lambda event: gateway.stop() if event["event"] == "version" else None
    )
    with gateway:
        device = Device(gateway.url, package, "a", slots=2, texts=TEXTS)
        assert not gateway.wait(timeout_s=60)
        assert not gateway.running
        device.leave()


def test_settings_are_a_files_and_over_them_those_named(tmp_path: Path, package: Package) -> None:
    """Tables are dicts; a path in the file begins in its folder."""
    file = tmp_path / "gateway.toml"
    file.write_text('package = "package"\nrounds = 7\n[round]\nquorum = 5\ndeadline_s = 9\n')
    config = load_config(file, rounds=1, round={"quorum": 2})
    assert (config.package, config.rounds) == (tmp_path / "package", 1)
    assert (config.round.quorum, config.round.deadline_s) == (2, 9.0)
    assert Gateway(str(file)).config == load_config(file)
    assert load_config(file, round={}) == load_config(file)
    for wrong in ({"rounds": {"quorum": 2}}, {"round": 3}, {"rounds": "3"}, {"quorum": 2}, {"limits": {"x": 1}}):
        with pytest.raises(UsageError, match=r"expected|unknown keys"):
            load_config(file, **wrong)
    assert package.folder == config.package
