"""docs/api.md: written from the docstrings, up to date, and complete."""

from __future__ import annotations

from pathlib import Path

import pytest

import broker_server
import edge_runtime
import export
from docs import api


def test_the_page_is_what_the_docstrings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make api` was run after the last change; another text is found, and writing makes it right."""
    assert api.main(["--check"]) == 0
    page = tmp_path / "api.md"
    monkeypatch.setattr(api, "PAGE", page)
    assert api.main(["--check"]) == 1
    assert "run make api" in capsys.readouterr().err
    page.write_text("older")
    assert api.main(["--check"]) == 1
    assert api.main([]) == 0
    assert api.main(["--check"]) == 0


def test_every_public_name_and_argument_is_there() -> None:
    """A heading for each name but errors, a row for each error, a line for each argument of a method."""
    text = api.PAGE.read_text(encoding="utf-8")
    for package in (edge_runtime, export, broker_server):
        for name in package.__all__:
            assert f"\n### {name}\n" in text or f".{name}` | Exception |" in text, name
    for error in ("edge_runtime.errors.ConfigError", "export.errors.BudgetError", "broker_server.errors.ListenError"):
        assert f"| `{error}` | " in text
    train = text.partition("#### Model.train")[2].partition("#### ")[0]
    code, _, told = train.partition("```python")[2].partition("```")
    names = [line.strip().partition(":")[0] for line in code.splitlines() if line.startswith("    ") and ":" in line]
    assert len(names) > 20
    assert [name for name in names if f"- `{name}`: " not in told] == []


def test_a_docstring_becomes_paragraphs_and_lists() -> None:
    """Sections of Google's style, items over several lines, types of fields, signatures as long as they are."""
    text = """Do it.

    With ``care``.

    Args:
        first: a thing
            that goes on.
        second, third: others.

    Raises:
        ValueError: never.
    """
    assert api.prose(text, {"first": "int"}) == (
        "Do it.\n\nWith `care`.\n\nArgs:\n\n- `first` (int): a thing that goes on.\n- `second`, `third`: others.\n\n"
        "Raises:\n\n- `ValueError`: never.\n"
    )

    def short(one: int, *, two: str = "b") -> bool: ...

    assert api.signature("short", short) == "short(one: int, *, two: str = 'b') -> bool"
