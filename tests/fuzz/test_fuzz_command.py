"""`python -m tests.fuzz`: turns that go on where the last one ended, what is recorded, and what a finding is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import record
from tests.fuzz import __main__ as command
from tests.fuzz import corpus
from tests.fuzz.slices import State, told
from tests.fuzz.target import Finding
from tests.fuzz.targets import TARGETS

_ENDED = """==9==ERROR: libFuzzer: fuzz target exited
artifact_prefix='runs/fuzz/findings/Bank-'; Test unit written to runs/fuzz/findings/Bank-crash-1b32
stat::number_of_executed_units: 1458
stat::average_exec_per_sec:     0
"""


def test_a_run_goes_on_where_the_last_one_ended_and_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs of one target: each counts its own inputs, the second starts with what the first kept."""
    pytest.importorskip("atheris")
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    words = ["--target", "Topic", "--seconds", "1", "--state", str(tmp_path / "state"), "--json", "--record"]
    turns = []
    for _ in range(2):
        assert command.main(words) == 0
        turns.append(json.loads(capsys.readouterr().out.splitlines()[0]))
    assert all(turn["inputs"] > 100 and turn["finding"] == "" for turn in turns)
    assert turns[1]["corpus"] >= turns[0]["corpus"] >= len(set(TARGETS["Topic"].seeds()))
    lines = record.read("fuzz")
    assert [line["target"] for line in lines] == ["Topic", "Topic"]
    assert lines[0]["inputs"] >= turns[0]["inputs"]
    assert lines[0]["findings_mended"] == len(corpus.findings("Topic"))


def test_what_ends_a_turn_is_read_from_libfuzzers_words() -> None:
    """The inputs that it ran, and the file that it wrote."""
    assert told(_ENDED) == (1458, "runs/fuzz/findings/Bank-crash-1b32")
    assert told("Traceback (most recent call last):") == (0, "")


def test_an_input_is_replayed_and_a_mended_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The decision is printed; a finding comes out as it is, and only what is none any more is kept."""
    monkeypatch.setattr(corpus.read, "__defaults__", (tmp_path / "corpus",))
    monkeypatch.setattr(corpus.write, "__defaults__", (tmp_path / "corpus",))
    path = tmp_path / "input"
    path.write_bytes(b"fl/v1/home/nothing")
    assert command.main(["--replay", str(path), "--target", "Topic"]) == 0
    assert command.main(["--mended", str(path), "an unknown word", "--target", "Topic"]) == 0
    assert capsys.readouterr().out == "MALFORMED\nMALFORMED\n"
    assert corpus.read("Topic") == [corpus.Input(b"fl/v1/home/nothing", "an unknown word")]

    def broken(_: bytes) -> str:
        raise Finding("broken")

    monkeypatch.setitem(command.TARGETS, "Topic", type(TARGETS["Topic"])("Topic", broken, list))
    with pytest.raises(Finding, match="broken"):
        command.main(["--mended", str(path), "another", "--target", "Topic"])
    assert len(corpus.read("Topic")) == 1


def test_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every target is listed; one input is decoded by one target."""
    assert command.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == list(TARGETS)
    with pytest.raises(SystemExit, match="2"):
        command.main(["--replay", str(tmp_path / "x")])
    assert "need one --target" in capsys.readouterr().err
    assert State(tmp_path / "s").corpus("Topic").is_dir()
