"""How far a build is, as its two kinds of audience see it."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from export.report.display import _bar, display


def test_a_pipe_gets_a_plain_line_for_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    """The number of stages and the time follow as soon as they are known; nothing goes to stdout."""
    with display() as shown:
        shown.stage("plan")
        shown.expect(3)
        shown.stage("trace train_m2")
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"export: plan\nexport: trace train_m2 \(2 of 3, 0 s\)\n", told.err)


def test_a_terminal_gets_a_bar_with_stages_and_time() -> None:
    """The newest stage by name, those that are done of how many, and the time since the start."""
    file = io.StringIO()
    with _bar(Console(file=file, force_terminal=True, width=100)) as shown:
        shown.expect(3)
        shown.stage("trace train_m2")
        shown.stage("rewrite train_m2")
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert re.search(r"rewrite train_m2 .* 1/3 0:00:00", seen)
