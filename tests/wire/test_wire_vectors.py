"""The shared vectors are up to date, complete, and decided as they say."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest

from edge_runtime.wire import errors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.vectors import generate
from edge_runtime.wire.vectors.case import CASES, Case, read_cases, tree_of
from edge_runtime.wire.vectors.decide import MESSAGES, decide

WIRE = Path(errors.__file__).parent
ALL = read_cases()


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.kind}/{case.name}")
def test_every_vector_is_decided_as_it_says(case: Case) -> None:
    """One file, one case, one decision."""
    assert decide(case) == (case.expect, case.meaning)


def test_vectors_are_up_to_date() -> None:
    """The files are those that the generator writes."""
    assert generate.differences() == []


def test_generator_repairs_a_changed_tree(tmp_path: Path) -> None:
    """A missing, a changed and an extra file are found and put right."""
    assert generate.write(tmp_path) == len(ALL)
    (tmp_path / "Bye" / "accept_plain.bin").write_bytes(b"changed")
    (tmp_path / "Bye" / "extra.bin").write_bytes(b"extra")
    (tmp_path / "Bye" / "accept_by_hand.json").unlink()
    found = ["Bye/accept_by_hand.json", "Bye/accept_plain.bin", "Bye/extra.bin"]
    assert generate.differences(tmp_path) == found
    generate.write(tmp_path)
    assert generate.differences(tmp_path) == []


def test_generator_check_fails_on_a_stale_tree(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check writes nothing and says what is out of date."""
    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    assert generate.main() == 0
    monkeypatch.setattr(generate, "differences", lambda: ["Bye/x.bin"])
    assert generate.main() == 1
    assert "Bye/x.bin" in capsys.readouterr().err


def test_a_key_that_the_runner_does_not_know_fails(tmp_path: Path) -> None:
    """A case that says more than the reader understands is not passed over."""
    folder = tmp_path / "Bye"
    folder.mkdir()
    tree = {"kind": "Bye", "expect": "MALFORMED", "comment": "", "since": 2}
    (folder / "x.json").write_text(json.dumps(tree))
    (folder / "x.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="unknown keys"):
        read_cases(tmp_path)


def test_cases_are_well_formed() -> None:
    """Two cases never share a name; an accepted case has a meaning, a refused one none."""
    case = Case("Bye", "x", b"", "MALFORMED", "")
    with pytest.raises(ValueError, match="two cases"):
        tree_of([case, case])
    with pytest.raises(ValueError, match="meaning"):
        Case("Bye", "x", b"", "ACCEPT", "")


def test_every_file_is_half_of_a_case() -> None:
    """No .bin without .json, and the folder is the kind."""
    stems = {path.with_suffix("") for path in CASES.rglob("*") if path.is_file()}
    assert stems == {CASES / case.kind / case.name for case in ALL}


def test_every_message_has_vectors_both_ways() -> None:
    """Each message of the schema that is sent on its own is accepted and refused somewhere."""
    sent = {
        name
        for name, message in pb.DESCRIPTOR.message_types_by_name.items()
        if "wire_version" in message.fields_by_name
    }
    assert set(MESSAGES) == sent
    for kind in sent:
        outcomes = {case.expect == "ACCEPT" for case in ALL if case.kind == kind}
        assert outcomes == {True, False}, kind


def test_every_code_that_the_contract_can_give_has_a_vector() -> None:
    """Codes named in wire/*.py outside of tables of names are all replayed."""
    raised = {
        node.attr
        for path in WIRE.glob("*.py")
        if path.name != "wire_pb2.py"
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("WireError", "super().__init__")
        for node in call.args[:1]
        if isinstance(node, ast.Attribute)
    }
    assert raised == {case.expect for case in ALL} - {"ACCEPT", "REFUSED"}
    assert raised >= {"MALFORMED", "UNSUPPORTED_WIRE", "WRONG_SIZE", "NOT_FINITE", "TOO_LARGE", "NO_EXAMPLES"}


def test_every_check_refuses_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule of each message has a vector that fails when the rule is taken away.

    Every call of a rule (a line of checks.py that can raise) is hit by a refused case.
    """
    from edge_runtime.wire import checks

    lines: set[int] = set()
    need = checks._need

    def recording(condition: bool, detail: str) -> None:
        if not condition:
            frame = sys._getframe(1)
            while frame is not None and frame.f_code.co_filename == checks.__file__:
                lines.add(frame.f_lineno)
                frame = frame.f_back
        need(condition, detail)

    monkeypatch.setattr(checks, "_need", recording)
    for case in ALL:
        if case.kind in MESSAGES:
            decide(case)
    tree = ast.parse(Path(checks.__file__).read_text())
    rules = {
        node.lineno: ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("_need", "_digest", "_session", "_plain")
    }
    assert {text for line, text in rules.items() if line not in lines} == set()
