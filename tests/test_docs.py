"""What the documents name exists: files, commands and their options, targets of make."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_server.cli import build_parser as gateway_parser
from edge_runtime.__main__ import parser as device_parser
from tests.test_architecture import ROOMS

ROOT = Path(__file__).parent.parent
FOLDERS = ("export", "edge_runtime", "broker_server", "android_demo", "ios", "benchmarks", "docs", "examples", "tests")
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "android_demo/README.md", "ios/README.md")),
    ROOT / "examples/cpp/README.md",
    *(ROOT / name for name in ("edge_runtime/wire/SPEC.md", "edge_runtime/wire/vectors/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
SECTION = re.compile(r"\]\(([^)#:\s]*)#([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FILE = re.compile(r"`([\w-]+\.(?:py|kt|kts|cpp|h|toml|proto))`")
CODE = re.compile(r"```[^\n]*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
MODULE = re.compile(r"python3? -m ([\w.]+)")
TARGET = re.compile(r"\bmake ([a-z][\w-]*)")
COMMAND = re.compile(r"^(broker_server|edge_runtime) ")


def code_of(text: str) -> Iterator[str]:
    """Yield the lines of code blocks and the spans of code."""
    for block, span in CODE.findall(text):
        yield from (block or span).splitlines()


def missing_files(document: Path, text: str) -> list[str]:
    """Return the paths, links and bare file names of a document that lead to no file; what is built is left out."""
    paths = [name for name in PATH.findall(text) if "/build/" not in name and not (ROOT / name).exists()]
    links = [name for name in LINK.findall(text) if not (document.parent / name).exists()]
    return [*paths, *links, *(name for name in FILE.findall(text) if name not in _names())]


def missing_sections(document: Path, text: str) -> list[str]:
    """Return the links to a section that no heading of its document makes."""
    links = [(document.parent / name if name else document, section) for name, section in SECTION.findall(text)]
    return [f"{path.name}#{section}" for path, section in links if section not in _sections(path)]


def _sections(document: Path) -> set[str]:
    """Return the names that headings of a document have in links, as GitHub makes them."""
    headings = HEADING.findall(document.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def _names() -> set[str]:
    """Return the names of all files of ours."""
    return {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")} | {"pyproject.toml"}


def missing_commands(text: str) -> list[str]:
    """Return the modules, targets of make and command lines in a document's code that nothing answers to."""
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = list(code_of(text))
    modules = [name for line in lines for name in MODULE.findall(line) if importlib.util.find_spec(name) is None]
    unmade = [name for line in lines for name in TARGET.findall(line) if name not in targets]
    return [*modules, *unmade, *(line for line in lines if not _is_understood(line))]


def _is_understood(line: str) -> bool:
    """Return whether a line is no command of device or gateway, or one that its parser takes."""
    for part in line.split("|"):
        words = shlex.split(part, comments=True) if COMMAND.match(part.strip()) else []
        if len(words) > 2 and "..." not in words:
            parser = {"broker_server": gateway_parser, "edge_runtime": device_parser}[words[0]]()
            try:
                parser.parse_args(words[1:])
            except (SystemExit, argparse.ArgumentError):
                return False
    return True


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_document_names_exists(document: Path) -> None:
    """A file that moves, or an option that is renamed, takes the documents along."""
    text = document.read_text(encoding="utf-8")
    assert missing_files(document, text) + missing_commands(text) == []
    assert missing_sections(document, text) == []


@pytest.mark.parametrize(
    ("link", "missing"),
    [
        ("[all](docs/glossary.md#words)", []),
        ("[loop](docs/results.md#the-loop-accuracy-on-held-out-text-)", []),
        ("[none](docs/glossary.md#verbs)", ["glossary.md#verbs"]),
        ("[here](#nowhere)", ["README.md#nowhere"]),
    ],
)
def test_a_link_to_a_section_needs_its_heading(link: str, missing: list[str]) -> None:
    """Punctuation goes and spaces are dashes; a heading that is worded anew takes the links along."""
    assert missing_sections(ROOT / "README.md", link) == missing


@pytest.mark.parametrize("package", ROOMS)
def test_the_rooms_are_told_in_their_order(package: str) -> None:
    """docs/architecture.md has a table of rooms for each package, in the order that the arrows are held to."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition(f"| `{package}/` | what is there")[2].partition("\n\n")[0]
    told = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()[2:]]
    assert told == [[name for name in floor.split("+") if name] for floor in _floors(package)]


def _floors(package: str) -> list[str]:
    """Return the rooms of a package, from the top down; what only starts the command line stands on its floor."""
    first, *others = ROOMS[package]
    return [f"{first}+{others[0]}", *others[1:]] if first == "__main__" else [first, *others]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("see export/lowering.py.", "export/lowering.py"),
        ("[it](docs/nothing.md)", "docs/nothing.md"),
        ("`ranking.py` has it", "ranking.py"),
        ("`python -m export.nothing`", "export.nothing"),
        ("```\nmake nothing   # all\n```", "nothing"),
        ("```\nedge_runtime train --speed 3\n```", "edge_runtime train --speed 3"),
        ("```\necho x | broker_server serve now\n```", "echo x | broker_server serve now"),
    ],
)
def test_what_is_missing_is_told(text: str, missing: str) -> None:
    """The test can fail: each kind of name is seen."""
    assert missing in missing_files(ROOT / "README.md", text) + missing_commands(text)
