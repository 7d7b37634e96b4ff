"""The Swift package keeps up with schema and vectors; where Swift is here, it is built and tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_runtime.wire.vectors.case import CASES
from ios.tools import messages, test, toolchain
from ios.tools.toolchain import ROOT, ToolchainError

TESTS = ROOT / "ios/Tests/EdgeTests/Wire"


def test_generated_messages_are_current() -> None:
    """`make proto` changes nothing."""
    assert messages.stale() == []


def test_stale_messages_are_seen_and_put_right(tmp_path: Path) -> None:
    """A missing file, and one that says something else."""
    assert messages.stale(tmp_path) == [messages.MESSAGES, messages.FIELDS]
    messages.write(tmp_path)
    (tmp_path / messages.MESSAGES).write_text("public struct Bye {}\n")
    assert messages.stale(tmp_path) == [messages.MESSAGES]


def test_every_kind_of_vector_is_known_in_swift_or_left_out_by_name() -> None:
    """CI has no Swift: a kind of tomorrow is noticed here, not by whoever runs `make swift-test` next."""
    rules = (TESTS / "Decide.swift").read_text()
    known = {
        *re.findall(r'^    "(\w+)": Rule', rules, re.MULTILINE),
        *re.findall(r"Rule\.message\((\w+)\.self\)", rules),
    }
    listed = re.search(r"leftOut: Set = \[([^]]*)\]", (TESTS / "VectorsTests.swift").read_text())
    assert listed is not None
    left_out = set(re.findall(r'"(\w+)"', listed[1]))
    assert known & left_out == set()
    assert known | left_out == {path.stem for path in CASES.glob("*.json")}


def test_without_swift_the_tests_say_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are skipped, and what else would need it is refused."""
    monkeypatch.setenv("EDGE_RUNTIME_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert test.main() == 0
    assert "skipped: no Swift toolchain is here: install one" in capsys.readouterr().err
    with pytest.raises(ToolchainError, match="run make swift-tools on Debian"):
        toolchain.run("swift", ["build"])
    with pytest.raises(ToolchainError, match="Swift cannot be fetched: apt-get did not finish"):
        toolchain.fetch()
    assert list((tmp_path / "swift").iterdir()) == []


@pytest.mark.matrix
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(toolchain.missing()), reason=toolchain.missing() or "Swift is here")
def test_swift_decides_as_python_does() -> None:
    """`make swift-test`: a minute of processor time, so not for every run of the suite."""
    assert test.main() == 0
