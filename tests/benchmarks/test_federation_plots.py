"""Pictures: every cell has its files, and what stands in them is what the runs say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.federation import plots
from benchmarks.federation.figures import Cell, Curve, Run
from benchmarks.federation.texts import Part, TextSet

CELL = Cell("trec", "dirichlet:0.1", 2)
CURVE = Curve((0.5, 0.6), (0.5, 0.8), (1e6,), (3e6,), (6.0,), (2.0,))
RUNS = [
    Run("grid", CELL, "ours", 0, CURVE, trained=((1.0, 3.0),)),
    Run("grid", CELL, "ours", 1, Curve((0.5, 0.6), (0.7, 0.6), (1e6,), (3e6,), (6.0,), (2.0,))),
    Run("grid", CELL, "topk", 0, CURVE, trained=((2.0, 2.0),), load=((0.25, 0.75),)),
]


@pytest.mark.parametrize(("panel", "end"), [(0, 1.0), (1, 2.0), (2, 6.0), (3, 2.0)])
def test_accuracy_is_drawn_over_rounds_bytes_device_seconds_and_wall_clock(panel: int, end: float) -> None:
    """The mean of two seeds goes from 60 to 70; the round took 2 MB a device, 6 device-seconds and 2 seconds."""
    axes = plots.curves(RUNS).axes[panel]
    line = next(each for each in axes.get_lines() if each.get_label() == "ours")
    assert np.asarray(line.get_xydata()).ravel().tolist() == pytest.approx([0, 60, end, 70])


def test_pictures_of_a_cell_are_written(tmp_path: Path) -> None:
    """One file of curves and one of experts, for people and for papers."""
    names = sorted(path.name for path in plots.draw(RUNS, tmp_path))
    stem = "trec-dirichlet-0.1-2-clients"
    assert names == [f"{stem}-{kind}.{suffix}" for kind in ("curves", "experts") for suffix in ("png", "svg")]
    assert all((tmp_path / name).stat().st_size > 1000 for name in names)


def test_clients_are_drawn_by_their_labels(tmp_path: Path) -> None:
    """The picture names the fewest and most texts of a client."""
    place = np.arange(60)
    texts = TextSet(
        labels=np.array(["a", "b"]),
        ids=np.ones((60, 2), np.uint16),
        lengths=np.full(60, 2, np.uint8),
        targets=(place % 2).astype(np.uint16),
        users=np.full(60, -1, np.int32),
        parts=np.full(60, Part.TRAIN, np.uint8),
        origins=np.zeros(60, np.uint8),
    )
    paths = plots.draw_clients(texts, Cell("trec", "iid", 2), 0, tmp_path)
    assert [path.suffix for path in paths] == [".svg", ".png"]
    canvas = plots.distributions(np.array([[10, 20], [40, 0]]), "trec")
    assert canvas.axes[0].get_title(loc="left") == "trec: 30 to 40 texts"
    assert np.asarray(canvas.axes[0].images[0].get_array())[1].tolist() == [1.0, 0.0]
