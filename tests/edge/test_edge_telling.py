"""The progress bar of a run: a line of a terminal that is drawn over itself, and nothing elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from edge_runtime.commands import telling
from edge_runtime.commands.telling import Bars
from edge_runtime.interface.results import Progress


class Terminal(io.StringIO):
    """A terminal that remembers."""

    def isatty(self) -> bool:
        """Tell that someone watches."""
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a clock, in seconds, that a test sets."""
    now = [100.0]
    monkeypatch.setattr(telling.time, "monotonic", lambda: now[0])
    return now


def test_a_bar_tells_what_is_done_and_what_is_left(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    """A quarter after 5 s leaves 15 s; what comes right after a drawing is not drawn; then the line is cleared."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Bars() as bars:
        bars(Progress("training", 0, 8))
        clock[0] += 5
        bars(Progress("training", 2, 8))
        bars(Progress("training", 3, 8))
        clock[0] += 5
        bars(Progress("training", 8, 8))
    drawn = sys.stderr.getvalue().split("\r\x1b[K")  # type: ignore[attr-defined]
    assert drawn == [
        "",
        f"training [{'-' * 30}]   0% 0/8",
        f"training [{'#' * 8}{'-' * 22}]  25% 2/8 15 s left",
        f"training [{'#' * 30}] 100% 8/8",
        "",
    ]


def test_the_next_stage_takes_the_line(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    """The bar of the one before goes; a stage of nothing divides by nothing and is full."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Bars() as bars:
        bars(Progress("features", 0, 2))
        clock[0] += 9
        bars(Progress("scoring", 0, 0))
    drawn = sys.stderr.getvalue().split("\r\x1b[K")  # type: ignore[attr-defined]
    assert drawn == ["", f"features [{'-' * 30}]   0% 0/2", "", f"scoring [{'#' * 30}] 100% 0/0", ""]


@pytest.mark.parametrize(("stream", "show"), [(io.StringIO, True), (Terminal, False)])
def test_nothing_is_drawn_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], *, show: bool
) -> None:
    """A pipe or a file, or a command that writes JSON."""
    monkeypatch.setattr(sys, "stderr", stream())
    with Bars(show=show) as bars:
        bars(Progress("training", 0, 8))
        bars(Progress("training", 8, 8))
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
