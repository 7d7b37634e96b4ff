"""benchmarks.longevity makes the versions that it is asked for; what is kept: test_broker_retention."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.longevity import page
from benchmarks.longevity.__main__ import main


def test_versions_are_made_and_every_delta_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty versions, looked at once each: the first is a head, the others merges of three deltas."""
    words = ["--versions", "20", "--keep-versions", "4", "--keep-rounds", "5", "--json", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["versions"], figures["accepted"], figures["counted"]) == (20, 57, 57)
    assert [look["version"] for look in figures["looks"]] == list(range(2, 21))
    assert figures["looks"][-1]["rows"]["rounds"] <= 6
    line = {"command": "c", "date": "d", "machine": "m", "commit": "x"} | figures
    assert "## 20 versions" in page.section([line])
    assert [row[0] for row in page.rows(line)] == ["2", "6", "9", "13", "16", "20"]
