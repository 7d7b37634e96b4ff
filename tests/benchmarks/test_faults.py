"""Faults that are injected happen, and what they leave is counted as it is."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from benchmarks import reliability
from benchmarks.faults.damage import DAMAGES, damage
from benchmarks.faults.gateway_story import BUFFERED, DIRECTED, GATED, PRIVATE, package, play
from benchmarks.faults.proxy import KINDS, Proxy
from benchmarks.faults.tally import Injection, Tally, compared


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the library is compiled with gcc")
@pytest.mark.parametrize("part", ["walk", "history", "gate", "directions", "buffer", "private", "device"])
def test_struck_commit_points_lose_nothing(part: str) -> None:
    """A handful of them, by the command that people run: no delta lost or double, the same bytes."""
    if part == "private":
        pytest.importorskip("dp_accounting", reason="the extra [privacy] is not installed")
    command = [sys.executable, "-m", "benchmarks.faults", "--only", part, "--count", "0.002", "--seed", "3", "--json"]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert sum(line["injected"] for line in lines) > 1
    assert {(line["lost"], line["double"], line["identical"] - line["injected"]) for line in lines} == {(0, 0, 0)}


def test_the_gate_of_the_story_keeps_one_version_from_devices(tmp_path: Path) -> None:
    """Of three merges the second is not served; without that, its commit points were not struck."""
    told: list[dict[str, Any]] = []
    assert play(tmp_path / "state", package(tmp_path / "package"), [], lambda **said: told.append(said), GATED) == 0
    assert told[-1]["reasons"] == ["initial", "head", "merge", "merge", "gate", "merge"]


def test_the_liar_of_the_story_is_left_out_of_each_of_its_merges(tmp_path: Path) -> None:
    """Of five devices; its deltas are accepted, and no expert counts as trained by it."""
    told: list[dict[str, Any]] = []
    assert play(tmp_path / "state", package(tmp_path / "package"), [], lambda **said: told.append(said), DIRECTED) == 0
    assert told[-1]["reasons"] == ["initial", "head", *["merge"] * 3]
    assert sorted(told[-1]["trained"]) == ["ada", "bo", "cy", "di"]
    assert len(told[-1]["folded"]) == 15
    assert [(device, since) for device, _, since in told[-1]["trust"] if since is not None] == [("liar", 2)]


def test_the_buffer_of_the_story_has_late_deltas_and_devices_that_answer_twice(tmp_path: Path) -> None:
    """Five merges of two: ada has answered five times, cy twice, and some deltas are of older versions."""
    told: list[dict[str, Any]] = []
    assert play(tmp_path / "state", package(tmp_path / "package"), [], lambda **said: told.append(said), BUFFERED) == 0
    assert told[-1]["reasons"] == ["initial", "head", *["merge"] * 5]
    names = [device for device, _ in told[-1]["folded"]]
    assert {name: names.count(name) for name in ("ada", "bo", "cy")} == {"ada": 5, "bo": 3, "cy": 2}
    lines = [json.loads(line) for line in (tmp_path / "state" / "journal.jsonl").read_text().splitlines()]
    assert sum(line["late"] for line in lines) > 0


def test_the_private_story_counts_its_releases(tmp_path: Path) -> None:
    """Class sums and two merges."""
    pytest.importorskip("dp_accounting", reason="the extra [privacy] is not installed")
    told: list[dict[str, Any]] = []
    assert play(tmp_path / "state", package(tmp_path / "package"), [], lambda **said: told.append(said), PRIVATE) == 0
    assert told[-1]["reasons"] == ["initial", "head", "merge", "merge"]
    assert told[-1]["released"] == 3


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_changes_one_file(tmp_path: Path, kind: str) -> None:
    """It is named, and the others are as they were."""
    (tmp_path / "blobs").mkdir()
    for name in ("HEAD", "blobs/one", "blobs/two"):
        (tmp_path / name).write_bytes(bytes(range(100)))
    name = damage(tmp_path, kind, random.Random(1))
    for other in {"HEAD", "blobs/one", "blobs/two"} - {name}:
        assert (tmp_path / other).read_bytes() == bytes(range(100))
    assert not (tmp_path / name).exists() or (tmp_path / name).read_bytes() != bytes(range(100))


def test_an_outcome_is_compared_with_the_undisturbed_one() -> None:
    """Of three accepted deltas one is in no version, and a device trained two blocks more than its deltas have."""
    undisturbed = {"digest": "d", "trained": {"a": 6, "b": 3}, "folded": [["a", 1], ["b", 1], ["a", 2]]}
    last = {"digest": "e", "trained": {"a": 8, "b": 3}, "folded": [["a", 1], ["b", 1]]}
    told = [("a", 1), ("b", 1), ("a", 2)]
    assert compared(undisturbed, last, told) == Injection(lost=1, double=2, identical=False)
    assert compared(undisturbed, undisturbed, told) == Injection()
    assert not compared(undisturbed | {"released": 3}, undisturbed | {"released": 2}, told).identical


def test_a_tally_is_a_row_of_the_page() -> None:
    """Two injections: sums, and the median time to recover."""
    tally = Tally("gateway", "kill -9", "forked", [Injection(recover_ms=10.0), Injection(lost=1, recover_ms=30.0)])
    figures = tally.figures() | {"command": "c", "date": "d", "machine": "m", "commit": "x"}
    page = reliability.faults([figures])
    assert "| gateway | kill -9 | forked | 2 | 1 | 0 | 2 | 0 | 20 |" in page
    assert "| **all** |  |  | **2** | **1** | **0** | **2** | **0** |  |" in page


PACKET = b"\x32\x0b\x00\x03a/b\x00\x07body"
"""A PUBLISH of QoS 1: topic a/b, packet 7."""
SENT = {"drop": b"", "duplicate": 2 * PACKET, "reorder": b"\xc0\x00" + PACKET, "stall": PACKET}


@pytest.mark.parametrize("kind", [*SENT, "corrupt", "cut in a packet"])
def test_a_bad_network_does_its_kind_of_harm(kind: str) -> None:
    """What comes out behind the proxy of a PUBLISH and a PINGREQ; a dropped message is acknowledged all the same."""
    assert kind in KINDS
    server = socket.create_server(("127.0.0.1", 0))
    hits: list[int] = []
    proxy = Proxy(server.getsockname()[1], kind, 1, random.Random(1), lambda: hits.append(1))
    threading.Thread(target=proxy.serve, daemon=True).start()
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as device:
        device.sendall(PACKET)
        broker = server.accept()[0]
        broker.settimeout(10)
        if kind == "cut in a packet":
            assert _all(broker) == PACKET[: len(PACKET) // 2]
        else:
            device.sendall(b"\xc0\x00")
            came = _until_ping(broker)
            if kind == "corrupt":
                assert (came[:7], len(came), came == PACKET) == (PACKET[:7], len(PACKET), False)
            else:
                assert came == SENT[kind].removeprefix(b"\xc0\x00")
        if kind == "drop":
            assert device.recv(10) == b"\x40\x02\x00\x07"
        broker.close()
    server.close()
    assert hits == [1]


def _all(end: socket.socket) -> bytes:
    data = b""
    while more := end.recv(100):
        data += more
    return data


def _until_ping(end: socket.socket) -> bytes:
    """Return what comes beside a PINGREQ, which may be before or after it."""
    data = b""
    while b"\xc0\x00" not in data or (data.startswith(b"\xc0\x00") and len(data) == 2 and not _quiet(end)):
        data += end.recv(100)
    return data.replace(b"\xc0\x00", b"")


def _quiet(end: socket.socket) -> bool:
    """Return whether nothing more comes."""
    end.settimeout(0.5)
    try:
        return not end.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return True
    finally:
        end.settimeout(10)
