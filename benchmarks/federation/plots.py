"""Pictures of an experiment's runs: ``python -m benchmarks.federation plots RUNS.jsonl --out DIR``.

For each cell: accuracy by round, bytes, device-seconds and wall clock; where experts were trained and where tokens
went; and, given the data, which labels each client has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from benchmarks.federation import metrics
from benchmarks.federation.figures import Cell, Run
from benchmarks.federation.metrics import DENSE, OURS
from benchmarks.federation.splits import label_counts, split
from benchmarks.federation.texts import TextSet
from edge_runtime.wire.text import counted

GREY: Final = "#9ca3af"
COLORS: Final = tuple(mpl.colormaps["tab10"](range(10)))
STYLES: Final = ("-", "--", ":")
BOLD: Final = {OURS: "#2563eb", DENSE: "#ea580c", "centralized": "#15803d"}
AXES: Final[dict[str, Callable[[Run], list[float]]]] = {
    "round": lambda run: [float(number) for number in range(len(run.curve.test))],
    "MB a device, up and down": lambda run: [
        moved / run.cell.clients / 1e6
        for moved in metrics.cumulated(
            [sum(both) for both in zip(run.curve.bytes_up, run.curve.bytes_down, strict=True)]
        )
    ],
    "device-seconds": lambda run: metrics.cumulated(run.curve.device_s),
    "wall clock, s": lambda run: metrics.cumulated(run.curve.wall_s),
}
"""What accuracy is drawn over."""


def draw(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Write the pictures of all cells; return their paths."""
    kept = metrics.newest(runs)
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "runs"})
    paths = []
    for cell in metrics.cells(kept):
        own = [run for run in kept if run.cell == cell]
        paths += _saved(curves(own), folder / f"{_file(cell)}-curves")
        if any(run.trained or run.load for run in own):
            paths += _saved(experts(own), folder / f"{_file(cell)}-experts")
    return paths


def draw_clients(texts: TextSet, cell: Cell, seed: int, folder: Path) -> list[Path]:
    """Write the picture of which labels each client of a cell has; return its paths."""
    mpl.rcParams.update({"font.size": 9, "svg.hashsalt": "runs"})
    counts = label_counts(split(cell.split, texts, cell.clients, seed), texts)
    return _saved(distributions(counts, str(cell)), folder / f"{_file(cell)}-clients")


def _file(cell: Cell) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", str(cell).lower()).strip("-")


def _saved(canvas: Figure, stem: Path) -> list[Path]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.parent / f"{stem.name}{suffix}" for suffix in (".svg", ".png")]
    for path in paths:
        canvas.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(canvas)
    return paths


def curves(runs: Sequence[Run]) -> Figure:
    """Return accuracy of one cell's arms over each of AXES: means over seeds, a band of one deviation for bold arms."""
    canvas: Figure
    canvas, grid = plt.subplots(2, 2, figsize=(13, 9.5), layout="constrained", sharey=True)
    names = metrics.arms(runs)
    for axes, (about, along) in zip(grid.flat, AXES.items(), strict=True):
        for number, name in enumerate(names):
            look = COLORS[number % len(COLORS)], STYLES[number // len(COLORS) % len(STYLES)]
            _line(axes, [run for run in runs if run.arm == name], along, look)
        axes.set(xlabel=about)
        axes.grid(axis="y", color="#e5e7eb", zorder=0)
    for axes in grid[:, 0]:
        axes.set_ylabel("test accuracy, %")
    canvas.suptitle(f"{runs[0].cell}; {counted(len({run.seed for run in runs}), 'seed')}", fontweight="bold")
    canvas.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return canvas


def _line(axes: Axes, runs: Sequence[Run], along: Callable[[Run], list[float]], look: tuple[object, str]) -> None:
    rounds = min(len(run.curve.test) for run in runs)
    heights = 100 * np.array([run.curve.test[:rounds] for run in runs])
    places = np.mean([along(run)[:rounds] for run in runs], axis=0)
    middle, band = heights.mean(axis=0), heights.std(axis=0)
    name, bold = runs[0].arm, runs[0].arm in BOLD
    color, style = (BOLD[name], "-") if bold else look
    axes.plot(places, middle, color=color, linestyle=style, linewidth=2.4 if bold else 1.2, label=name, zorder=2 + bold)
    if bold:  # twenty bands would hide each other
        axes.fill_between(places, middle - band, middle + band, color=color, alpha=0.12, linewidth=0)


def experts(runs: Sequence[Run]) -> Figure:
    """Return, for each arm with experts: deltas merged into each, and share of tokens where they are routed."""
    held = {run.arm: run for run in runs if run.trained or run.load}
    canvas: Figure
    canvas, grid = plt.subplots(len(held), 2, figsize=(8, 1.2 + 1.9 * len(held)), layout="constrained", squeeze=False)
    for (left, right), run in zip(grid, held.values(), strict=True):
        _map(left, np.array(run.trained), f"{run.arm}: deltas merged")
        _map(right, np.array(run.load), f"{run.arm}: share of tokens")
    canvas.suptitle(f"{runs[0].cell}; seed {runs[0].seed}", fontweight="bold")
    return canvas


def _map(axes: Axes, values: npt.NDArray[np.float64], title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9)
    if not values.size:
        axes.text(0.5, 0.5, "none", ha="center", va="center", color=GREY, transform=axes.transAxes)
        axes.set_axis_off()
        return
    axes.imshow(values, cmap="Blues", aspect="auto", vmin=0)
    axes.set(xlabel="expert", ylabel="layer", xticks=range(values.shape[1]), yticks=range(values.shape[0]))
    for (row, column), value in np.ndenumerate(values):
        color = "white" if value > 0.6 * values.max() else "black"
        axes.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=7, color=color)


def distributions(counts: npt.NDArray[np.int64], title: str) -> Figure:
    """Return clients by labels. Args: counts: [K, C] texts."""
    shares = counts / counts.sum(axis=1, keepdims=True)
    canvas: Figure
    canvas, axes = plt.subplots(figsize=(9, 2 + 0.14 * len(counts)), layout="constrained")
    picture = axes.imshow(shares, cmap="Blues", aspect="auto", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    axes.set(xlabel="label", ylabel="client")
    axes.set_title(f"{title}: {counts.sum(axis=1).min()} to {counts.sum(axis=1).max()} texts", loc="left")
    canvas.colorbar(picture, ax=axes, label="share of a client's texts")
    return canvas
