"""The shared vectors are up to date, complete, and decided as they say."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.wire import errors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.vectors import generate
from edge_runtime.wire.vectors.case import CASES, Case, read_cases, tree_of
from edge_runtime.wire.vectors.decide import MESSAGES, decide
from edge_runtime.wire.vectors.layout import expand, shorten, text_of
from edge_runtime.wire.vectors.pieces import _varint, joined, pieces_of

WIRE = Path(errors.__file__).parent
ALL = read_cases()


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.kind}/{case.name}")
def test_every_vector_is_decided_as_it_says(case: Case) -> None:
    """The same bytes, the same decision, the same meaning."""
    assert decide(case) == (case.expect, case.meaning)


def test_vectors_are_up_to_date() -> None:
    """The files are those that the generator writes."""
    assert generate.differences() == []


def test_generator_repairs_a_changed_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing, a changed and an extra file are seen and put right."""
    some = [case for case in ALL if case.kind in ("Bye", "Want")]  # to generate all of them takes seconds
    monkeypatch.setattr(generate, "all_cases", lambda: iter(some))
    assert generate.write(tmp_path) == len(some)
    (tmp_path / "Bye.json").write_bytes(b"changed")
    (tmp_path / "Extra.json").write_bytes(b"[]")
    (tmp_path / "Want.json").unlink()
    assert generate.differences(tmp_path) == ["Bye.json", "Extra.json", "Want.json"]
    generate.write(tmp_path)
    assert generate.differences(tmp_path) == []


def test_generator_check_fails_on_a_stale_tree(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check writes nothing and says what is out of date."""
    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    monkeypatch.setattr(generate, "differences", list)
    assert generate.main() == 0
    monkeypatch.setattr(generate, "differences", lambda: ["Bye.json"])
    assert generate.main() == 1
    assert "Bye.json" in capsys.readouterr().err


def read_one(folder: Path, **keys: Any) -> Case:
    """Return the case of a file that has no other."""
    (folder / "Bye.json").write_text(json.dumps([{"name": "a", "expect": "MALFORMED", "comment": "", **keys}]))
    [case] = read_cases(folder)
    return case


@pytest.mark.parametrize(
    "keys",
    [
        {"bytes": [], "since": 2},
        {},
        {"bytes": [{"base64": "AA=="}]},
        {"bytes": [{"hex": "00", "text": "a"}]},
    ],
    ids=["of a case", "no bytes", "of a piece", "two of a piece"],
)
def test_a_key_that_the_reader_does_not_know_fails(tmp_path: Path, keys: dict[str, Any]) -> None:
    """A case that says more than the reader understands is not passed over."""
    with pytest.raises(ValueError, match="unknown keys"):
        read_one(tmp_path, **keys)


def test_bytes_are_put_together_from_their_pieces(tmp_path: Path) -> None:
    """Hex, text, repetition and counting follow each other; a varint has seven bits a byte, the low ones first."""
    pieces = [
        {"hex": "00ff"},
        {"text": "ü\n"},
        {"hex": {"repeat": "0102", "times": 3}},
        {"varints": [127, 129], "before": "aa", "after": "bb"},
    ]
    expected = b"\x00\xff" + b"\xc3\xbc\n" + b"\x01\x02" * 3 + bytes.fromhex("aa7fbb aa8001bb aa8101bb")
    assert read_one(tmp_path, bytes=pieces).data == expected


def test_lines_are_those_of_the_other_case(tmp_path: Path) -> None:
    """Lines count from 1, both ends belong to them, and a line feed belongs to the line that it ends."""
    head = {"expect": "MALFORMED", "comment": ""}
    lines = [{"text": "one\ntwo\nthree\nfour"}]
    parts = [{"case": "b", "lines": [2, 3]}, {"text": "3.5\n"}, {"case": "b", "lines": [4, 4]}]
    cases = [{"name": "a", "bytes": parts, **head}, {"name": "b", "bytes": lines, **head}]
    (tmp_path / "Bye.json").write_text(json.dumps(cases))
    assert [case.data for case in read_cases(tmp_path)] == [b"two\nthree\n3.5\nfour", b"one\ntwo\nthree\nfour"]


@given(st.data())
def test_any_bytes_and_values_are_read_as_they_were_written(data: st.DataObject) -> None:
    """Whatever a generator yields comes back, also where it repeats, counts, or is like the case before."""
    some = st.binary(max_size=40)
    repeated = st.builds(lambda unit, times: unit * times, some, st.integers(0, 300))
    counting = st.builds(
        lambda unit, first, count: b"".join(unit + _varint(first + i) + unit for i in range(count)),
        some,
        st.integers(0, 2**14),
        st.integers(0, 300),
    )
    lines = st.lists(st.sampled_from([b"{\n", b"one\n", b"\n", b"}", b"\xff\n"])).map(b"".join)
    one, two = (b"".join(data.draw(st.lists(st.one_of(some, repeated, counting, lines)))) for _ in range(2))
    pieces = expand(json.loads(text_of(pieces_of(one, ("two", two)))))
    assert joined(pieces, {"two": two}.__getitem__) == one
    value = {"list": [one.hex()] * data.draw(st.integers(0, 300)), "text": two.hex()}
    assert expand(json.loads(text_of(shorten(value)))) == value


def test_cases_are_well_formed(tmp_path: Path) -> None:
    """Two cases never share a name; an accepted case has a meaning, a refused one none."""
    case = Case("Bye", "x", b"", "MALFORMED", "")
    with pytest.raises(ValueError, match="two cases"):
        tree_of([case, case])
    with pytest.raises(ValueError, match="meaning"):
        Case("Bye", "x", b"", "ACCEPT", "")
    twice = {"name": "a", "expect": "MALFORMED", "comment": "", "bytes": []}
    (tmp_path / "Bye.json").write_text(json.dumps([twice, twice]))
    with pytest.raises(ValueError, match="two cases"):
        read_cases(tmp_path)


def test_the_files_can_be_reviewed() -> None:
    """One file a kind, of cases sorted by name; no line too long to read, no character that nobody sees."""
    assert sorted(path.name for path in CASES.iterdir()) == sorted({f"{case.kind}.json" for case in ALL})
    for path in CASES.iterdir():
        text = path.read_text()
        names = [case["name"] for case in json.loads(text)]
        assert names == sorted(names)
        assert max(map(len, text.splitlines())) < 2500, f"{path.name}: write the case shorter"
        assert text.replace("\n", "").isprintable()


def test_the_wheel_has_the_contract_and_no_vectors(tmp_path: Path) -> None:
    """Vectors and generators are for whoever implements the contract: they stay in the repository."""
    root = WIRE.parents[1]
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(root / name, tmp_path)
    shutil.copytree(root / "edge_runtime", tmp_path / "edge_runtime", ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    [wheel] = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"edge_runtime/wire/SPEC.md", "edge_runtime/wire/manifest.py"} <= set(names)
    assert [name for name in names if "vectors" in name] == []


PYTHON_ALONE = {"MaskRound", "MaskKeys", "MaskMembers", "MaskShares", "MaskDealt", "MaskSurvivors", "MaskAnswer"}
"""Messages of rounds under masks, in which other languages take no part yet; test_wire_masks.py has their cases."""


def test_every_message_has_vectors_both_ways() -> None:
    """Each message of the schema that is sent on its own is accepted and refused somewhere."""
    sent = {
        name
        for name, message in pb.DESCRIPTOR.message_types_by_name.items()
        if "wire_version" in message.fields_by_name
    }
    assert set(MESSAGES) == sent - PYTHON_ALONE
    for kind in MESSAGES:
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

    Every call of a rule (a line of checks.py or site_checks.py that can raise) is hit by a refused case.
    """
    from edge_runtime.wire import checks, field_checks, site_checks

    files = {module.__file__ for module in (checks, field_checks, site_checks)}
    lines: set[tuple[str, int]] = set()
    need = field_checks.need

    def recording(condition: bool, detail: str) -> None:
        if not condition:
            frame = sys._getframe(1)
            while frame is not None and frame.f_code.co_filename in files:
                lines.add((frame.f_code.co_filename, frame.f_lineno))
                frame = frame.f_back
        need(condition, detail)

    for module in (checks, field_checks, site_checks):
        monkeypatch.setattr(module, "need", recording)
    for case in ALL:
        if case.kind in MESSAGES:
            decide(case)
    rules = {
        (module.__file__, node.lineno): ast.unparse(node)
        for module in (checks, site_checks)
        for node in ast.walk(ast.parse(Path(module.__file__).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("need", "digest_size", "_session", "_plain")
    }
    assert len(rules) > 40
    of_masks = {text for text in rules.values() if "under masks" in text}  # test_wire_masks.py has its cases
    assert {text for line, text in rules.items() if line not in lines} - of_masks == set()
