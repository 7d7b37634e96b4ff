"""Kept runs and what pages say of them: a run is read as it was kept, and documents get the tables they ask for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.federation import page, reporting
from benchmarks.federation.__main__ import main
from benchmarks.federation.figures import Cell, Curve, Run

CELL = Cell("trec", "dirichlet:0.1", 2)
WHERE = {"date": "2026-11-29", "command": "run grid", "machine": "one GPU", "commit": "abc"}


def run(arm: str, accuracy: float, experiment: str = "grid", where: dict[str, str] | None = None) -> Run:
    """Return a run of two clients and one round."""
    curve = Curve((0.5, accuracy), (0.5, accuracy), (1e6,), (3e6,), (6.0,), (1.0,))
    return Run(experiment, CELL, arm, 0, curve, own=(0.5, 0.7), where=WHERE if where is None else where)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of results of an empty folder."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path / "federation.jsonl"


def test_a_run_is_read_as_it_was_kept(kept: Path) -> None:
    """Date, machine and commit are those of the run, not of whoever keeps it."""
    page.keep(run("ours", 0.8, where={"date": "2026-11-28", "machine": "one GPU", "commit": "abc"}), "run grid")
    line = json.loads(kept.read_text(encoding="utf-8"))
    assert {key: line[key] for key in WHERE} == WHERE | {"date": "2026-11-28"}
    one = page.kept(record.read(page.NAME))[0]
    assert (one.arm, one.curve, one.own) == ("ours", run("ours", 0.8).curve, (0.5, 0.7))
    assert one.where["commit"] == "abc"


def test_a_run_from_a_copy_without_git_gets_the_commit_that_the_copy_was_of(kept: Path, tmp_path: Path) -> None:
    """A machine that is lent has no git; a run that knows its commit keeps it."""
    file = tmp_path / "runs.jsonl"
    told = [
        run(arm, 0.8, where=WHERE | {"commit": commit}) for arm, commit in (("ours", "unknown"), ("hetlora", "def"))
    ]
    file.write_text("".join(f"{one.line()}\n" for one in told), encoding="utf-8")
    assert main(["keep", str(file), "--made-by", "run grid", "--commit", "abc"]) == 0
    assert kept.is_file()
    assert {one.arm: one.where["commit"] for one in page.kept(record.read(page.NAME))} == {
        "ours": "abc",
        "hetlora": "def",
    }


def test_the_section_has_claims_tables_and_sources(kept: Path) -> None:
    """Of an experiment with ours, a rival and the dense adapter all that it has to show is shown."""
    for arm, accuracy in (("ours", 0.9), ("hetlora", 0.8), ("adapter_dense", 0.85)):
        page.keep(run(arm, accuracy), "run grid")
    text = page.section(record.read(page.NAME))
    assert kept.is_file()
    assert "### grid" in text
    assert "+10.00 points over hetlora" in text
    assert "| ours | 90.0, one seed (90.0) |" in text
    assert "- `run grid`, 2026-11-29, one GPU, commit abc" in text


def test_a_document_gets_the_tables_between_its_markers_again_and_again(kept: Path) -> None:
    """What stood there goes; what is not measured is said to be not; an unknown table is refused."""
    mark = "<!-- federation grid {}: written by make results -->\nold\n<!-- /federation -->"
    page.keep(run("ours", 0.9), "run grid")
    lines = record.read(page.NAME)
    text = page.filled(f"a\n{mark.format('quality')}\nb", lines)
    assert kept.is_file()
    assert "old" not in text
    assert "| ours | 90.0, one seed (90.0) |" in text
    assert (text[:2], text[-2:]) == ("a\n", "\nb")
    assert page.filled(text, lines) == text
    assert page.NOT_KEPT in page.filled(mark.format("quality").replace("grid", "bytes"), lines)
    with pytest.raises(ValueError, match="no table 'poem' of experiment 'grid'"):
        page.filled(mark.format("poem"), lines)


def test_runs_are_read_and_what_is_none_is_named_by_its_line(tmp_path: Path) -> None:
    """Empty lines are nothing; another benchmark's line is refused with its number."""
    file = tmp_path / "runs.jsonl"
    file.write_text(f"{run('ours', 0.9).line()}\n\n", encoding="utf-8")
    assert reporting.read([file]) == [run("ours", 0.9)]
    file.write_text(f"{run('ours', 0.9).line()}\n{{}}\n", encoding="utf-8")
    with pytest.raises(reporting.RunsError, match=r"runs\.jsonl, line 2: not a run"):
        reporting.read([file])
    with pytest.raises(reporting.RunsError, match="no runs in"):
        reporting.read([])
