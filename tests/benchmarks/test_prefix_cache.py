"""The benchmark of the prefix cache: its arithmetic, what it keeps, and what happens without data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import record, sections
from benchmarks.prefix_cache import __main__ as command
from benchmarks.prefix_cache import one_run

ROOT = Path(__file__).parents[2]


def test_ratios_are_against_all_layers_in_their_later_epoch() -> None:
    """Medians 60 of {50, 60, 90}, 20 and 10 ms: three and six times as fast."""
    times = command.times(
        {
            "all": [{"first_ms": 1.0, "later_ms": ms, "peak_rss_mib": 200.0} for ms in (50.0, 90.0, 60.0)],
            "last": [{"first_ms": 20.0, "later_ms": 10.0, "peak_rss_mib": 150.0}],
        }
    )
    assert times["ratios"] == {"all": 1.0, "first": 3.0, "cached": 6.0}
    assert times["arms"]["cached"] == {"ms_median": 10.0, "peak_rss_mib": 150.0}


def test_epochs_are_told_apart_and_the_first_steps_left_out() -> None:
    """Five steps an epoch: of the first the last two count, of the second all."""
    assert one_run._times([99, 99, 99, 10, 12, 3, 4, 5, 6, 7], 5) == {"first_ms": 11, "later_ms": 5}


def test_points_lost_are_against_all_layers() -> None:
    """Means 0.80 and 0.785: 1.5 points."""
    summary = command.summary({"all": [0.79, 0.81], "int8": [0.78, 0.79], "fp16": [0.8, 0.8]})
    assert [summary[arm]["points_lost"] for arm in summary] == pytest.approx([0, 1.5, 0])


def test_a_result_of_another_machine_is_kept_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine and commit stay with it; what is no result is refused."""
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    arm = {"ms_median": 12.0, "peak_rss_mib": 100.0}
    figures = {"mean": 0.8, "spread": 0.01, "points_lost": 0.5, "accuracy": [0.8]}
    result = {
        "work": "Work.", "arms": {"all": arm, "cached": arm}, "ratios": {"all": 1.0, "cached": 4.5},
        "cache_bytes_per_text": 57344, "sets": {"trec": {"all": figures, "int8": figures}}, "steps": 400, "seeds": 1,
        "test": 500, "machine": "a far machine", "commit": "abc1234",
    }  # fmt: skip
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert command.main(["--keep", str(tmp_path / "result.json")]) == 0
    page = sections.prefix_cache(record.read("prefix_cache"))
    assert "| last two, from the second epoch on | 12.0 | 4.50 | 100 |" in page
    assert "a far machine, commit abc1234" in page
    assert "| trec | last two, prefixes int8 | 80.0 ± 1.0 | 0.50 |" in page
    (tmp_path / "result.json").write_text("[]")
    assert command.main(["--keep", str(tmp_path / "result.json")]) == 1


def test_without_data_nothing_is_measured_and_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 0: a machine without the sets is no failure."""
    assert command.main(["--data", str(tmp_path), "--sets", "trec"]) == 0
    assert capsys.readouterr().err == f"prefix_cache: no trec in {tmp_path}; nothing was measured\n"


def test_bad_usage_is_refused() -> None:
    """Exit status 2, and what was expected."""
    line = [sys.executable, "-m", "benchmarks.prefix_cache", "--sets", "nobody"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, "expected some of ag_news" in done.stderr) == (2, True)
