"""The progress bar of a run: a line of a terminal that is drawn over itself, and nothing elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from edge_runtime.federation import report


class Terminal(io.StringIO):
    """A terminal that remembers."""

    def isatty(self) -> bool:
        """Tell that someone watches."""
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a clock, in seconds, that a test sets."""
    now = [100.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    return now


def test_a_bar_tells_what_is_done_and_what_is_left(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    """A quarter after 5 s leaves 15 s; what comes right after a drawing is not drawn; then the line is cleared."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with report.bar("training", 8) as advance:
        clock[0] += 5
        advance(2)
        advance(1)
        clock[0] += 5
        advance(5)
    drawn = sys.stderr.getvalue().split("\r\x1b[K")  # type: ignore[attr-defined]
    assert drawn == [
        "",
        f"training [{'-' * 30}]   0% 0/8",
        f"training [{'#' * 8}{'-' * 22}]  25% 2/8 15 s left",
        f"training [{'#' * 30}] 100% 8/8",
        "",
    ]


@pytest.mark.parametrize(("stream", "show"), [(io.StringIO, True), (Terminal, False)])
def test_nothing_is_drawn_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], *, show: bool
) -> None:
    """A pipe or a file, or a command that writes JSON."""
    monkeypatch.setattr(sys, "stderr", stream())
    with report.bar("training", 8, show=show) as advance:
        advance(8)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_a_bar_of_nothing_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file of examples divides by nothing."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with report.bar("scoring", 0):
        pass
    assert "100% 0/0" in sys.stderr.getvalue()  # type: ignore[attr-defined]
