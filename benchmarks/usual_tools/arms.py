"""Start each arm's process, with its settings, on given files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.seeds import run
from benchmarks.usual_tools import BATCH, LOGISTIC, LORA, LORA_EVERYWHERE, RANK, figures
from benchmarks.usual_tools.choosing import Rate
from benchmarks.usual_tools.processes import measured

EXPERTS: Final = 8


@dataclass(frozen=True)
class Files:
    """Texts of a run. Args: train, test: CSVs with the columns text and label."""

    train: Path
    test: Path


@dataclass(frozen=True)
class Arms:
    """What all runs share. Args: package: of ours; model: folder of the backbone; threads: of each process."""

    package: Path
    model: Path
    threads: int

    def run(self, name: str, files: Files, seed: int, rate: Rate | None) -> dict[str, Any]:
        """Run an arm once; return what it told, with its speed.

        Raises:
            RunError: when it fails.
        """
        module, words = self.command(name, files, seed, rate)
        return figures.with_speed(measured(f"{name}, seed {seed}", module, words))

    def command(self, name: str, files: Files, seed: int, rate: Rate | None) -> tuple[str, list[str]]:
        """Return the module of an arm and its words. Args: rate: None for logistic regression, which has none."""
        same = ["--test", str(files.test), "--seed", str(seed), "--threads", str(self.threads)]
        stock = ["--model", str(self.model), "--train", str(files.train), *same]
        if name == LOGISTIC:
            return "benchmarks.usual_tools.logistic_arm", stock
        if rate is None:
            raise ValueError(f"arm {name} needs a rate")
        if name in (LORA, LORA_EVERYWHERE):
            everywhere = ["--everywhere"] if name == LORA_EVERYWHERE else []
            return "benchmarks.usual_tools.lora_arm", [*stock, "--rate", f"{rate.body:g}", *everywhere]
        ours = ["train", "--package", str(self.package), "--data", str(files.train), *same, "--epochs", "1"]
        rates = ["--lr", f"{rate.body:g}", "--head-lr", f"{rate.head or 0.0:g}"]
        return "edge_runtime", [*ours, "--experts", "all", *rates, "--json"]


def export(train: Path, package: Path) -> None:
    """Make the package of ours for these texts: a step of at most 16, every expert trained.

    Raises:
        RunError: when it fails.
    """
    words: Sequence[str] = ("--device", "linux-x86_64", "--data", str(train), "--out", str(package))
    sizes = ("--batch-size", str(BATCH), "--experts", str(EXPERTS), "--train-slots", str(EXPERTS), "--rank", str(RANK))
    run("export", "export.build", [*words, *sizes])
