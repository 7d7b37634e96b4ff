"""docs/troubleshooting.md: each message stands in the code, and each code and check of doctor is explained."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.wire import wire_pb2 as pb

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SOURCES = [path for name in ("export", "edge_runtime", "broker_server") for path in sorted((ROOT / name).rglob("*.py"))]
USAGE = ("ConfigError", "UsageError")
"""Errors with which a command exits with 2."""
REMEDY = re.compile(
    r";|\b(expected|must|choose|give|gives?|use|using|say|run|take|takes|leave|name|set|wants|go together|supported)\b"
)
"""What a message has that says itself what to do."""
ANY = "…"


def patterns(tree: ast.AST) -> Iterator[str]:
    """Yield every text of a module; what is filled in, also by logging's %, is …."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, (ast.JoinedStr, ast.Constant)) and id(node) not in inside and (text := pattern(node)):
            yield text


def pattern(node: ast.expr) -> str:
    """Return the text of a string or f-string, "" for anything else."""
    if isinstance(node, ast.Constant):
        text = node.value if isinstance(node.value, str) else ""
    elif isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else ANY for part in node.values)
    else:
        text = ""
    return one_line(re.sub(r"%[drs]", ANY, text))


def one_line(text: str) -> str:
    """Return a text as it is shown: on one line, with one … where several stand side by side."""
    return re.sub(f"{ANY}+", ANY, " ".join(text.split()))


def rows(head: str) -> list[list[str]]:
    """Return the cells of every row below a table's head, over all tables whose first column has that head."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for table in TEXT.split("\n\n")
        if table.startswith(f"| {head} |")
        for line in table.splitlines()[2:]
    ]


def usage_messages() -> Iterator[str]:
    """Yield the texts of errors of usage that are raised with a text in place."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            checks_settings = name == "_need" and path.name == "config.py"
            if isinstance(node, ast.Call) and (name in USAGE or checks_settings):
                yield from filter(None, (pattern(argument) for argument in node.args))


@pytest.fixture(scope="module")
def known() -> str:
    """Return all texts of the code, one a line."""
    return "\n".join(text for path in SOURCES for text in patterns(ast.parse(path.read_text(encoding="utf-8"))))


MESSAGES = [cells[0].strip("`") for cells in rows("message") if cells[0].startswith("`")]
"""Ours; another program's has its name in front: pip: `...`."""


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_document_stands_in_the_code(message: str, known: str) -> None:
    """Who searches for what they saw finds it, also after the text was changed."""
    assert one_line(message) in known


def test_every_row_has_a_message_a_cause_and_a_remedy() -> None:
    """The tables are whole: three cells, none empty, no message told twice."""
    assert len(MESSAGES) > 100
    every = [cells for head in ("message", "code", "check") for cells in rows(head)]
    assert [cells for cells in every if len(cells) != 3 or "" in cells] == []
    assert sorted(set(MESSAGES)) == sorted(MESSAGES)


def test_every_refusal_code_of_the_wire_is_explained() -> None:
    """A code that is added to wire.proto is added to the document."""
    names = [value.name for value in pb.Code.DESCRIPTOR.values]
    assert [cells[0] for cells in rows("code")] == [name for name in names if name != "CODE_UNSPECIFIED"]


def test_every_check_of_doctor_is_explained() -> None:
    """A check that is added to doctor is added to the document."""
    source = (ROOT / "edge_runtime" / "commands" / "doctor.py").read_text(encoding="utf-8")
    names = set(re.findall(r'(?:_check|_measured|Check)\(f?"(\w+)', source))
    assert {cells[0].strip("`") for cells in rows("check")} == names


def test_a_message_of_exit_code_2_says_what_to_do_or_is_explained() -> None:
    """No command refuses its options without a remedy, there or here."""
    passed_on = f": {ANY}"  # what the system, or the part that found the fault, says of it
    bare = [text for text in usage_messages() if not REMEDY.search(text) and not text.endswith(passed_on)]
    assert [text for text in bare if not any(one_line(message) in text for message in MESSAGES)] == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ('raise E(f"no {name} in {a}{b}")', "no … in …"),
        ('log("%d of %s")', "… of …"),
        ('E("one "\n  f"two {x!r}")', "one two …"),
        ("E(3, name)", ""),
    ],
)
def test_texts_are_found_as_they_are_shown(code: str, text: str) -> None:
    """The test can fail: fields are …, texts in parts are one."""
    assert list(patterns(ast.parse(code))) == ([text] if text else [])
