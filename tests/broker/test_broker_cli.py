"""The command line as people and scripts meet it: output, exit codes, one line for each error."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.cli import run
from broker_server.config_tables import Limits
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.chunks import split
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic

DONE = ("--rounds", "1", "--port", "0", "--linger", "0")
"""Options of a gateway that has nothing left to do; devices that this start has not seen are not waited for."""
HELD_OUT = "text,label\nrose rose leaf,red\nleaf,green\nsky,blue\nstone,blue\n"


@pytest.fixture
def played(tmp_path: Path) -> Path:
    """Return a state directory after a round of two devices with class statistics; a second round is open."""
    package = tiny.make_package(tmp_path / "package")
    gateway = Gateway(tmp_path / "state", package)
    gateway.hello("a", "b")
    for device, words, labels in (("a", ["rose", "leaf"], [0, 1]), ("b", ["sky"], [2])):
        body = encode(tiny.statistics(package, device, words, labels))
        for chunk in split(body, pb.STATISTICS):
            gateway.send(Topic.STATISTICS, device, chunk)
    gateway.tick()
    gateway.train("a", value=0.0)
    gateway.train("b", value=0.0)
    gateway.tick()
    gateway.tick()
    gateway.train("a", value=0.0)
    gateway.reception.write_traffic(5.0)
    gateway.close()
    (tmp_path / "held.csv").write_text(HELD_OUT)
    return tmp_path / "state"


def output(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> str:
    """Run a command that ends with this code and complains of nothing; return what it printed."""
    ended = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert (ended, captured.err) == (code, "")
    return captured.out


def answer(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> Any:
    """Run a command with --json; return the value it printed on its one line."""
    text = output(capsys, *arguments, "--json", code=code)
    assert text.count("\n") == 1
    return json.loads(text)


def complaint(capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> str:
    """Run a command that fails with this code; return its one line."""
    assert run([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("broker_server: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["run"],
        ["enroll"],
        ["config"],
        ["status"],
        ["health"],
        ["rounds"],
        ["devices"],
        ["versions"],
        ["export"],
        ["evaluate"],
    ],
)
def test_help_has_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command shows how it is used."""
    with pytest.raises(SystemExit) as caught:
        run([*command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert f"broker_server {' '.join(command)}".strip() in text.split("examples:")[1]


def test_no_command_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, as argparse has it."""
    with pytest.raises(SystemExit) as caught:
        run([])
    assert caught.value.code == 2
    capsys.readouterr()


def test_status(played: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the round stands, for people and for machines."""
    tree = answer(capsys, "status", "--state", played, code=1)
    assert (tree["version"], tree["round"], tree["round_open"], tree["running"]) == (2, 2, True, False)
    assert (tree["planned"], tree["answered"]) == (["a", "b"], ["a"])
    assert tree["bytes_up"] > 0
    text = output(capsys, "status", "--state", played, code=1)
    assert ", 1 of 2 deltas; waits for b\n" in text
    assert "not running" in text
    output(capsys, "devices", "--state", played, "--revoke", "b")
    assert "waits for" not in output(capsys, "status", "--state", played, code=1)


def test_status_while_a_gateway_runs(played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lock tells that it runs; reading needs no lock."""
    package = tiny.make_package(tmp_path / "again")
    gateway = Gateway(played, package)
    gateway.hello("a")
    tree = answer(capsys, "status", "--state", played)
    assert (tree["running"], tree["devices_here"], tree["devices"]) == (True, 1, 2)
    assert {row["device"]: row["state"] for row in answer(capsys, "devices", "--state", played)["devices"]} == {
        "a": "here",
        "b": "away",
    }
    gateway.close()


def test_devices(played: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What each can do and did: two slots in two layers and two shared experts trained."""
    rows = answer(capsys, "devices", "--state", played)["devices"]
    assert [row["device"] for row in rows] == ["a", "b"]
    assert rows[0]["blocks_trained"] == 6
    assert rows[0]["class_statistics"]
    lines = output(capsys, "devices", "--state", played).splitlines()
    assert lines[0].split() == ["device", "state", "profile", "examples", "deltas", "up", "down", "seen"]
    assert [line.split()[0] for line in lines[1:]] == ["a", "b"]
    assert max(map(len, lines)) <= 80


def test_devices_shows_the_step_time_of_the_last_delta(
    played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device's first Hello says 0, its delta 3 ms; who has not trained yet has none, not 0.0."""
    assert [row["step_ms"] for row in answer(capsys, "devices", "--state", played)["devices"]] == [3.0, 3.0]
    gateway = Gateway(played, tiny.make_package(tmp_path / "again"))
    gateway.hello("c")
    gateway.close()
    text = output(capsys, "devices", "a", "c", "--state", played)
    assert [line for line in text.splitlines() if line.startswith("step")] == [
        "step     3.0 ms",
        "step     not measured yet",
    ]


def test_revoke_and_restore(played: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A device is removed and taken back; an unknown one is named with those there are."""
    output(capsys, "devices", "--state", played, "--revoke", "a")
    assert answer(capsys, "devices", "--state", played)["devices"][0]["state"] == "revoked"
    output(capsys, "devices", "--state", played, "--restore", "a")
    assert answer(capsys, "devices", "--state", played)["devices"][0]["state"] == "away"
    assert "no device 'zed'" in complaint(capsys, 2, "devices", "--state", played, "--revoke", "zed", "a")
    assert answer(capsys, "devices", "--state", played)["devices"][0]["state"] == "away"
    assert output(capsys, "devices", "--state", played, "--revoke", "a", "b").startswith("a, b are revoked")
    assert [row["state"] for row in answer(capsys, "devices", "--state", played)["devices"]] == ["revoked", "revoked"]


def test_versions(played: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lineage: initial bank, head, merge; each with its parent."""
    rows = answer(capsys, "versions", "--state", played)["versions"]
    assert [(row["version"], row["parent"], row["reason"]) for row in rows] == [
        (0, None, "initial"),
        (1, 0, "head"),
        (2, 1, "merge"),
    ]
    assert rows[2]["contributors"] == 2
    assert len(output(capsys, "versions", "--state", played).splitlines()) == 4


def test_export(played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bank file has the version's digest; the newest version is the default."""
    about = answer(capsys, "export", "--state", played, "--version", "1", "--out", tmp_path / "v1")
    assert json.loads((tmp_path / "v1/version.json").read_text())["version"] == 1
    bank = Bank.read(tmp_path / "v1/bank.safetensors", tiny.SHAPE, bytes.fromhex(about["federation_digest"]))
    assert bank.digest().hex() == about["digest"]
    output(capsys, "export", "--state", played, "--out", tmp_path / "newest")
    assert json.loads((tmp_path / "newest/version.json").read_text())["version"] == 2
    error = complaint(capsys, 1, "export", "--state", played, "--version", "9", "--out", tmp_path / "v9")
    assert "no version 9; there are: 0, 1, 2" in error


def test_export_of_a_damaged_version(played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written from a block that is not what its digest says."""
    block = max((played / "blobs").glob("*/*"), key=lambda path: path.stat().st_size)
    block.write_bytes(np.zeros(block.stat().st_size, np.uint8).tobytes())
    assert "was changed" in complaint(capsys, 1, "export", "--state", played, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_evaluate(played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With class means three of four texts are right: nobody showed a stone, and its feature is as near to no class."""
    rows = answer(capsys, "evaluate", "--state", played, "--data", tmp_path / "held.csv", "--version", "all")
    assert [row["version"] for row in rows] == [0, 1, 2]
    assert rows[1]["accuracy"] == rows[2]["accuracy"] >= 0.75
    newest = answer(capsys, "evaluate", "--state", played, "--data", tmp_path / "held.csv")
    assert [row["version"] for row in newest] == [2]
    text = output(capsys, "evaluate", "--state", played, "--data", tmp_path / "held.csv", "--version", "1")
    assert text.startswith("version   1  head     accuracy")


@pytest.mark.parametrize(
    ("asked", "measured"),
    [("1,2", [1, 2]), ("0-2", [0, 1, 2]), ("2, 0", [0, 2]), ("1-1,1", [1]), (" all ", [0, 1, 2]), ("0,1-2", [0, 1, 2])],
)
def test_evaluate_takes_lists_and_ranges(
    played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str, measured: list[int]
) -> None:
    """Each version once, oldest first, however they are written."""
    rows = answer(capsys, "evaluate", "--state", played, "--data", tmp_path / "held.csv", "--version", asked)
    assert [row["version"] for row in rows] == measured


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """Return a state directory whose only planned round is done."""
    gateway = Gateway(tmp_path / "state", tiny.make_package(tmp_path / "package"), rounds=1)
    gateway.hello("a", "b")
    gateway.tick()
    gateway.train("a")
    gateway.train("b")
    gateway.tick()
    gateway.close()
    return tmp_path / "state"


def test_the_package_that_the_state_names_is_found(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By enroll, evaluate and a second run, also from a folder without packages; enroll takes the federation's name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "held.csv").write_text(HELD_OUT)
    output(capsys, "run", "--package", "package", "--state", finished, "--federation", "home", *DONE)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    package = tiny.Package.open(tmp_path / "package", part="manifest")
    about = answer(capsys, "enroll", "phone", "--gateway", "mqtt://localhost", "--state", finished)
    assert about["federation"] == "home"
    assert about["package_digest"] == package.digest.hex()
    assert len(answer(capsys, "evaluate", "--state", finished, "--data", tmp_path / "held.csv")) == 1
    assert "finished" in output(capsys, "run", "--state", finished, *DONE)


def test_a_package_that_went_is_replaced_by_the_only_one(
    played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the state names may have been moved; without any package it is said how to name one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package").rename(tmp_path / "moved")
    common = ("evaluate", "--state", played, "--data", "held.csv")
    assert "or give its folder (--package)" in complaint(capsys, 2, *common)
    (tmp_path / "packages").mkdir()
    (tmp_path / "moved").rename(tmp_path / "packages/moved")
    assert len(answer(capsys, *common)) == 1


def test_evaluate_errors(played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns, labels, emptiness, versions, other federations: each named."""
    common = ("evaluate", "--state", played, "--data")
    (tmp_path / "columns.csv").write_text("words,intent\nrose,red\n")
    error = complaint(capsys, 1, *common, tmp_path / "columns.csv")
    assert "the columns words, intent with commas between them in its first line, the header; expected text" in error
    named = ("--text-column", "words", "--label-column", "intent")
    assert answer(capsys, *common, tmp_path / "columns.csv", *named)[0]["examples"] == 1
    (tmp_path / "labels.csv").write_text("text,label\nrose,purple\n")
    error = complaint(capsys, 1, *common, tmp_path / "labels.csv")
    assert '1 row has a label that the package does not know ("purple")' in error
    assert "it knows 3: red, green, blue" in error
    (tmp_path / "empty.csv").write_text("text,label\n")
    assert "has no examples" in complaint(capsys, 1, *common, tmp_path / "empty.csv")
    assert "cannot read" in complaint(capsys, 1, *common, tmp_path / "none.csv")
    for version, message in {
        "9": "no version 9; there are 0 to 2, or say all",
        "1,9,8": "no version 8, 9; there are 0 to 2",
        "0-999999999999": "no version 999999999999; there are 0 to 2",
        "-1": "--version '-1': expected numbers like 4, 1,4 or 2-5, or all",
        "new": "--version 'new': expected numbers",
        "1,,2": "--version '1,,2': expected numbers",
        "2-1": "the range 2-1 ends before it begins",
    }.items():
        assert message in complaint(capsys, 2, *common, tmp_path / "held.csv", f"--version={version}")
    tiny.make_package(tmp_path / "other", gate="topk")
    error = complaint(capsys, 2, *common, tmp_path / "held.csv", "--package", tmp_path / "other")
    assert "another federation" in error


@pytest.mark.parametrize(
    ("option", "expected"), [(("--limit", "-1"), 0), (("--limit", "1.5"), 0), (("--threads", "0"), 1)]
)
def test_numbers_of_evaluate_are_whole_and_large_enough(
    option: tuple[str, str], expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad usage: what came, and what was expected."""
    with pytest.raises(SystemExit) as end:
        run(["evaluate", "--data", "held.csv", f"{option[0]}={option[1]}"])
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert f"argument {option[0]}: got {option[1]!r}, expected a whole number of {expected} or more" in told


@pytest.mark.parametrize(
    "command", [["status"], ["health"], ["rounds"], ["devices"], ["versions"], ["export", "--out", "x"]]
)
def test_no_state(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is missing and how to make it."""
    error = complaint(capsys, 1, *command, "--state", tmp_path / "none")
    assert "no gateway state" in error
    assert "broker_server run" in error
    assert error.endswith("makes one (--state)\n")


def test_run_without_a_package(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """None below packages/: how to make one. Two: which there are."""
    monkeypatch.chdir(tmp_path)
    assert "python -m export.build --device pixel8" in complaint(capsys, 2, "run")
    tiny.make_package(tmp_path / "packages/one")
    tiny.make_package(tmp_path / "packages/two")
    assert "packages/one, packages/two" in complaint(capsys, 2, "run")


def test_run_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No package there, plaintext to the world, port in use: one line each, exit 1 or 2, nothing left running."""
    tiny.make_package(tmp_path / "package")
    common = ("run", "--package", tmp_path / "package", "--state", tmp_path / "state")
    assert "no device package" in complaint(capsys, 1, "run", "--package", tmp_path / "none")
    open_to_all = complaint(capsys, 2, *common, "--host", "0.0.0.0")  # noqa: S104 - it is refused
    assert "allow it: listen.allow_plaintext (--broker, --allow-plaintext)" in open_to_all
    assert "quorum 0" in complaint(capsys, 2, *common, "--quorum", "0")
    error = complaint(capsys, 2, *common, "--broker", "mqtt://broker.example")
    assert "or allow_plaintext on a network that you trust (--allow-plaintext)" in error
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = complaint(capsys, 1, *common, "--port", str(port))
    assert f"port {port} on 127.0.0.1 is in use" in error
    assert "choose another port, or use that broker: mqtt://HOST:PORT (--port, --broker)" in error
    Store.open(tmp_path / "state", tiny.Package.open(tmp_path / "package", part="gateway"), 0.0).close()


def test_run_that_has_nothing_left_to_do(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All planned rounds are done: it says so and ends with 0, as text and as JSON."""
    common = ["run", "--package", tmp_path / "package", "--state", finished, *DONE]
    text = output(capsys, *common, "--events", tmp_path / "events.jsonl")
    assert "finished after round 1: version 1" in text
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["listening", "page", "up", "finished"]
    lines = output(capsys, *common, "--json").splitlines()
    assert json.loads(lines[-1])["event"] == "finished"


def test_limits_that_were_reached_are_shown(played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By device, and in all: two names beyond those of an hour belong to nobody, and a's Hellos to a."""
    limits = Limits(hellos_per_minute=1, new_names_per_hour=1)
    gateway = Gateway(played, tiny.make_package(tmp_path / "again"), limits=limits)
    gateway.hello("a", "a", "a", "new", "more", "most")
    gateway.reception.write_traffic(gateway.now)
    gateway.close()
    reached = answer(capsys, "status", "--state", played, code=1)["limits"]
    assert reached == {"new_names_per_hour": 2, "hellos_per_minute": 2}
    text = output(capsys, "status", "--state", played, code=1)
    assert "limits     hellos_per_minute 2 x, new_names_per_hour 2 x" in text
    rows = {row["device"]: row["limits"] for row in answer(capsys, "devices", "--state", played)["devices"]}
    assert rows == {"a": {"hellos_per_minute": 2}, "b": {}, "new": {}}
    assert "\nlimits   hellos_per_minute 2 x\n" in output(capsys, "devices", "a", "--state", played)
