"""docs/reference.md is what the code says, and its list of a package's files is the one that export writes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from broker_server.config import GatewayConfig, flat
from broker_server.evaluation.onnx_model import MODEL
from docs import reference
from edge_runtime.wire.manifest import MANIFEST, SIGNATURE
from edge_runtime.wire.manifest_checks import NEEDED_FILES

TEXT = reference.PAGE.read_text(encoding="utf-8")


def test_the_page_is_what_the_code_says(capsys: pytest.CaptureFixture[str]) -> None:
    """A key that is added, or a default that changes, is written with ``make reference``."""
    assert reference.main(["--check"]) == 0, capsys.readouterr().err


def test_a_page_that_is_older_than_the_code_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check can fail, and writing mends it."""
    old = tmp_path / "reference.md"
    old.write_text(TEXT.replace("`quorum`", "`devices`"), encoding="utf-8")
    monkeypatch.setattr(reference, "PAGE", old)
    assert reference.main(["--check"]) == 1
    assert capsys.readouterr().err == "reference.md: not what the code says; run: make reference\n"
    assert reference.main([]) == 0
    assert old.read_text(encoding="utf-8") == TEXT


@pytest.mark.parametrize("key", flat(GatewayConfig(Path("package"))))
def test_every_key_of_the_gateway_has_a_row_in_its_table(key: str) -> None:
    """Found by the configuration itself, not by what writes the page."""
    table, _, name = key.rpartition(".")
    section = TEXT.partition(f"### [{table}]" if table else "### The top of the file")[2].partition("\n### ")[0]
    assert f"| `{name}` | " in section


@pytest.mark.parametrize("owner", [owner for owner, _ in reference.PARTS], ids=lambda owner: owner.__name__)
def test_every_key_of_a_manifest_says_what_it_is(owner: type) -> None:
    """No field of the manifest is without a docstring."""
    told = [row[0].strip("`") for row in reference.fields(owner)]
    assert told == [field.name for field in dataclasses.fields(owner)]


def test_every_file_of_a_package_is_listed() -> None:
    """The names that readers ask for, and no other."""
    assert set(reference.FILES) == {MANIFEST, SIGNATURE, *NEEDED_FILES, MODEL}


@pytest.mark.parametrize(
    ("name", "annotation", "expected"),
    [
        ("deadline_s", "float", "seconds"),
        ("messages_per_s", "float", "a second"),
        ("int8_gmac_s", "float", "10⁹ multiply-accumulates a second"),
        ("body_bytes", "int", "bytes"),
        ("normalize_steps", "bool", ""),
        ("quorum", "int", "devices"),
        ("margin", "float", ""),
    ],
)
def test_units_follow_from_names(name: str, annotation: str, expected: str) -> None:
    """The names carry units; what is no number has none."""
    assert reference.unit(name, annotation) == expected


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("Path | None", "path"),
        ("tuple[str, ...]", "list of texts"),
        ("tuple[Tier, ...]", "list"),
        ("dict[str, float]", "table"),
        ("Cost", "table"),
        ("bool", "true or false"),
    ],
)
def test_types_are_told_in_words(annotation: str, expected: str) -> None:
    """Nobody has to know Python."""
    assert reference.kind(annotation) == expected
