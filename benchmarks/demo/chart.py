"""The demo's picture: accuracy by round against its bounds, and which device trained which experts."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from benchmarks.demo.figures import Figures

BLUE, ORANGE, GREEN, GREY = "#2563eb", "#ea580c", "#15803d", "#6b7280"


def draw(figures: Figures, stem: Path) -> list[Path]:
    """Write ``stem``.svg and ``stem``.png; return their paths."""
    mpl.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "demo"})
    height = max(4.2, 1.6 + 0.3 * len(figures.devices))
    canvas, (left, right) = plt.subplots(1, 2, figsize=(13, height), width_ratios=(1.25, 1), layout="constrained")
    _accuracy(left, figures)
    _coverage(right, figures)
    paths = [stem.with_suffix(suffix) for suffix in (".svg", ".png")]
    for path in paths:
        canvas.savefig(path, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(canvas)
    return paths


def _accuracy(axes: Axes, figures: Figures) -> None:
    values = [100 * value for value in (figures.accuracy_class_means, *figures.accuracy_by_round)]
    axes.plot(
        range(len(values)), values, color=BLUE, marker="o", markersize=4, linewidth=2, label="merged model", zorder=3
    )
    bounds = (
        ("all data in one place", figures.accuracy_centralized, GREEN, "-"),
        ("class means alone", figures.accuracy_class_means, GREY, "--"),
        ("devices alone, mean", figures.accuracy_local_mean, ORANGE, "--"),
        ("untrained head", figures.accuracy_untrained, GREY, ":"),
    )
    for label, value, color, style in bounds:
        axes.axhline(100 * value, color=color, linestyle=style, linewidth=1.3, label=f"{label}: {100 * value:.1f} %")
    alone = [100 * device.accuracy_alone for device in figures.devices.values()]
    axes.scatter(
        [len(values) - 1] * len(alone), alone, color=ORANGE, marker="_", s=90, label="each device alone", zorder=2
    )
    axes.set(xlabel="round", ylabel="held-out accuracy, %", ylim=(0, 101))
    axes.set_title(f"Merged model after {len(values) - 1} rounds: {values[-1]:.1f} %", loc="left", fontweight="bold")
    axes.grid(axis="y", color="#e5e7eb", zorder=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize=8.5, frameon=False)


def _coverage(axes: Axes, figures: Figures) -> None:
    counts = np.array([device.trained for device in figures.devices.values()], dtype=float)
    axes.imshow(counts, cmap="Blues", aspect="auto", vmin=0, vmax=max(1.0, counts.max() * 1.25))
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if count > 0.6 * counts.max() else "black"
        axes.text(column, row, f"{count:.0f}" if count else "", ha="center", va="center", fontsize=8, color=color)
    names = [f"{name} ({device.profile}, {device.trained_slots})" for name, device in figures.devices.items()]
    axes.set_yticks(range(len(names)), names, fontsize=8.5)
    axes.set_xticks(range(counts.shape[1]))
    axes.set_xlabel("expert; the number counts rounds times layers")
    axes.set_title("Who trained which experts, how often", loc="left", fontweight="bold")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
