"""What an arm needs and how its process is started: packages of a set, its texts as a file and as ids."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.quantization import texts
from benchmarks.quantization.texts import Row
from benchmarks.real_text import ABOUT, BATCH, LAYERS, OURS, PADDED, TRAINED, sets, work
from benchmarks.real_text.sorted_batches import TIERS
from benchmarks.seeds import run
from benchmarks.train_step.compare import Arm
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.wire.manifest import Manifest, Package
from export.source import backbone as backbones

PACKAGE_OF: Final = {
    "packed": "all",
    "padded": PADDED,
    "last": "last",
    "cached": "last",
    "eager": "all",
    "eager_last": "last",
}
"""Package of each arm of ours, by the names of `LAYERS`, or the padded one; and whose bank PyTorch's start from."""
SORTED: Final = "sorted-"
"""Begin of the names of packages of the rival design; the tokens of a row follow."""
_EAGER_WARM_UP: Final = 3
_COMPILE_WARM_UP: Final = 8
"""Steps before the timed ones; the first batches of other lengths may be compiled once more."""
_DRAWN: Final = 4000
"""Texts drawn where a set is not there."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to measure on one set.

    Args:
        name: of the set.
        names: of arms.
        data: folder of the sets.
        folder: of everything that is made for this set.
        steps: batches of 16 texts that are timed in one run.
        exported: the packages are there.
    """

    name: str
    names: tuple[str, ...]
    data: Path
    folder: Path
    steps: int
    exported: bool = False

    @property
    def packages(self) -> dict[str, Path]:
        """Folders of the packages, by their names; the first one says at how many tokens texts are cut."""
        needed = ["all", *(PACKAGE_OF[name] for name in self.names if name in OURS)]
        needed += [f"{SORTED}{tokens}" for tokens in TIERS if SORTED in self.names]
        return {name: self.folder / f"package-{name}" for name in dict.fromkeys(needed)}


@dataclass(frozen=True)
class Prepared:
    """Arms that can run. Args: manifest: of the packed package; tokens: mean of the timed texts, cut."""

    arms: dict[str, Arm]
    manifest: Manifest
    tokens: float


def export(plan: Plan, rows: Sequence[Row], say: Say) -> Package:
    """Make the packages; return the packed one.

    Raises:
        RunError: when an export fails.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    every = texts.write(plan.folder / "all.csv", rows)
    for name, folder in () if plan.exported else plan.packages.items():
        say(f"{plan.name}: exporting the package {name} (from the export cache when it was made before) ...")
        run(f"export for {plan.name}", "export.build", export_words(plan.name, name, every, folder))
    return Package.open(plan.packages["all"])


def prepare(plan: Plan, say: Say) -> Prepared:
    """Make the packages, write the texts that are timed.

    Raises:
        RunError: when an export fails.
    """
    rows = sets.rows(plan.name, plan.data, _DRAWN)
    package = export(plan, rows, say)
    some = texts.chosen(rows, plan.steps * BATCH, 0)
    train = texts.write(plan.folder / "train.csv", some)
    tokenizer, architecture = Tokenizer(package.path("tokenizer.json")), package.manifest.architecture
    encoded = work.encoded(some, architecture.labels, tokenizer, package.manifest.tiers[0].seq_len)
    ids = work.write(plan.folder / "train.npz", encoded)
    commands = {name: _command(name, plan, train, ids, len(architecture.labels)) for name in plan.names}
    arms = {name: Arm(words, plan.steps, _warm_up(name), 0.0, ABOUT[name]) for name, words in commands.items()}
    return Prepared(arms, package.manifest, float(encoded.lengths.mean()))


def export_words(name: str, package: str, every: Path, folder: Path) -> list[str]:
    """Return what export is told. Args: name: of the set; every: all its texts, from which sizes are chosen."""
    words = ["--device", "linux-x86_64", "--data", str(every), "--batch-size", str(BATCH), "--out", str(folder)]
    words += ["--train-slots", str(TRAINED), "--tiers", "1"]
    if package == PADDED or package.startswith(SORTED):
        length = sets.SETS[name].padded if package == PADDED else int(package.removeprefix(SORTED))
        return [*words, "--seq-len", str(length), "--tokens", str(BATCH * length)]
    return [*words, "--layers", LAYERS[package]]


def _command(name: str, plan: Plan, train: Path, ids: Path, labels: int) -> tuple[str, ...]:
    words: Sequence[str]
    if name in OURS:
        words = ("--package", str(plan.packages[PACKAGE_OF[name]]), "--train", str(train))
        return _module("ours_arm", *words, *(("--cached",) if name == "cached" else ()))
    model = str(backbones.find(None).folder)
    return _module("torch_arm", "--arm", name, "--work", str(ids), "--model", model, "--labels", str(labels))


def _warm_up(name: str) -> int:
    return _COMPILE_WARM_UP if name.startswith("compile") else _EAGER_WARM_UP


def _module(name: str, *words: str) -> tuple[str, ...]:
    return sys.executable, "-m", f"benchmarks.real_text.{name}", *words
