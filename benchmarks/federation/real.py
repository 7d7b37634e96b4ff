"""A real federation of unequal depths, and the simulator's of the same plans beside it, round by round.

``python -m benchmarks.federation.real --set clinc150`` splits a set (``mixed``: four of them, each client from one or
two), exports packages, runs the gateway, its broker and a process for each device with ExecuTorch programs, int8 both
ways, as ``make demo`` does; but the low-end phones' package has tiers of the top two layers alone. Then ``replay``
makes the run once more. What is kept says both curves, and what the label prior makes of the last version.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

from benchmarks import record
from benchmarks.demo import settings as demo
from benchmarks.demo import stages
from benchmarks.demo.processes import Processes, run_all
from benchmarks.demo.split import Example
from benchmarks.federation import corpus, splits
from benchmarks.federation.figures import own_accuracy, own_weights
from benchmarks.federation.reading import Rows
from benchmarks.federation.texts import MIXED, MIXTURE, Part, mixture, thinned
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.wire.errors import FederationError
from edge_runtime.wire.label_prior import STRENGTHS, label_weights, with_prior
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.tensors import Array
from export.source.backbone import find

SHALLOW: Final = "lowend-phone"
"""The profile whose package trains the top layers alone."""
DEPTH: Final = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 when both runs were made, 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.federation.real", description=__doc__)
    parser.add_argument("--set", default="clinc150", choices=(*corpus.SETS, MIXED), help="texts (default %(default)s)")
    parser.add_argument("--clients", type=int, default=8, metavar="N", help="devices (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="default %(default)s")
    parser.add_argument(
        "--steps", type=int, default=15, metavar="N", help="optimizer steps of a device in a round (%(default)s)"
    )
    parser.add_argument(
        "--limit", type=int, default=600, metavar="TEXTS", help="texts of one device at most (%(default)s)"
    )
    parser.add_argument("--test", type=int, default=1000, metavar="TEXTS", help="held out (default %(default)s)")
    parser.add_argument("--seed", type=int, default=31, help="seed of the split and the order (%(default)s)")
    parser.add_argument("--data", type=Path, default=corpus.DATA, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/real"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--record", action="store_true", help="keep the figures in benchmarks/results")
    options = parser.parse_args(argv)
    console = Console(stderr=True, highlight=False)
    try:
        figures = run(options, console)
    except (FederationError, OSError, ValueError) as error:
        sys.stderr.write(f"real: {error}\n")
        return 1
    if options.record:
        words = " ".join(f"--{name} {getattr(options, name)}" for name in ("set", "clients", "rounds", "steps", "seed"))
        record.append("real_federation", f"python -m benchmarks.federation.real {words}", figures)
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


def run(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Make both runs.

    Raises:
        FederationError: when a stage of the real one fails.
    """
    from benchmarks.federation import replay  # noqa: PLC0415 - loads torch
    from benchmarks.federation.arms.merging import Merging  # noqa: PLC0415

    file = options.out / "texts.csv"
    _write(file, *_rows(options))
    words = ["--data", str(file), "--devices", str(options.clients), "--rounds", str(options.rounds), "--out"]
    words += [str(options.out / "demo"), "--steps", str(options.steps), "--test", str(options.test)]
    words += ["--seed", str(options.seed), "--limit", str(options.limit), "--head-share", "0.1", "--rate", "0.004"]
    settings = demo.parse(words)
    settings.out.mkdir(parents=True, exist_ok=True)
    with Processes(settings.out / "logs") as processes:
        data = stages.prepare(settings)
        packages = stages.export_packages(settings, data, processes, console)
        packages[SHALLOW] = _shallow(packages[SHALLOW], settings, data, processes)
        federation = stages.federate(settings, data, packages, processes, console)
        versions = stages.evaluate(data, packages, federation.state, processes)
    real = [one["accuracy"] for one in sorted(versions, key=lambda one: one["version"]) if one["reason"] == "merge"]
    profiles = stages.assign(data, packages)
    devices = {name: packages[profile] for name, profile in profiles.items()}
    again = replay.read(data.folder, federation.state, devices)
    replayed = replay.replay(
        again,
        Merging(weights="fednova"),
        codec="int8",
        told=lambda number, right: console.print(f"round {number}: real {real[number - 1]:.4f}, replayed {right:.4f}"),
    )
    labels = again.shape.labels
    counts = np.stack([np.bincount(again.targets[one.rows], minlength=labels) for one in again.shares.values()])
    return {
        "set": options.set,
        "clients": len(devices),
        "rounds": len(real),
        "held_out": len(data.test),
        "class_means": next(one["accuracy"] for one in versions if one["reason"] == "head"),
        "real": real,
        "replayed": list(replayed.curve),
        "largest_difference": float(np.abs(np.subtract(real, replayed.curve)).max()),
        "last_difference": abs(real[-1] - replayed.curve[-1]),
        "layers": {name: packages[profile].manifest.tiers[0].layers for name, profile in profiles.items()},
        "prior": _prior(replayed.probabilities, again.targets[again.held_out], counts),
    }


def _rows(options: argparse.Namespace) -> tuple[list[list[Example]], list[Example]]:
    """Return the texts of each client, and those held out."""
    names = MIXTURE if options.set == MIXED else (options.set,)
    tokenizer = Tokenizer(find(None).folder / "tokenizer.json")
    texts, rows = [], list[Example]()
    for name in names:
        parts = corpus.parted(options.data / name, corpus.SETS[name])
        encoded, own = corpus.encoded(parts, tokenizer, 64), [row for part in Part for row in parts[part]]
        texts.append(encoded)
        prefix = f"{name} " if options.set == MIXED else ""
        chosen = thinned(encoded) if options.set == MIXED else range(len(own))
        rows += [Example(own[row].text, prefix + own[row].label) for row in chosen]
    whole = mixture(texts) if options.set == MIXED else texts[0]
    kind = "mixed:0.5" if options.set == MIXED else "dirichlet:0.3"
    shares = splits.split(kind, whole, options.clients, options.seed)
    return [[rows[row] for row in share] for share in shares], [rows[row] for row in whole.rows(Part.TEST)]


def _write(file: Path, shares: Sequence[Sequence[Example]], test: Sequence[Example]) -> None:
    """Write a file that the demo splits by its users."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["text", "label", "user", "split"])
        for client, share in enumerate(shares):
            writer.writerows((row.text, row.label, f"client{client:02}", "train") for row in share)
        writer.writerows((row.text, row.label, "", "test") for row in test)


def _shallow(package: Package, settings: demo.Settings, data: stages.RunData, processes: Processes) -> Package:
    """Export a profile's package again, with tiers of the top layers alone, of the same slots and tokens."""
    tier, folder = package.manifest.tiers[0], settings.out / "packages" / f"{SHALLOW}-shallow"
    size = f"{tier.trained_slots}x{tier.seq_len}x{DEPTH}"
    words = ["export.build", "--device", SHALLOW, "--data", str(data.file("all")), "--tiers", size, "--json"]
    words += ["--batch-size", str(settings.batch_size), "--out", str(folder)]
    run_all(processes, {"export-shallow": words}, 1, lambda _busy, _done: None)
    return Package.open(folder)


def _prior(probabilities: Array, targets: Rows, counts: Rows) -> dict[str, dict[str, float]]:
    """Return what the label prior makes of the last version, by strength, in the mean and for the worst client.

    A client's accuracy is on the held-out texts, weighed as its own labels are; "everywhere" is on all texts alike.

    Args:
        probabilities: [n, C].
        targets: [n].
        counts: [K, C], texts of each client.
    """
    weights = own_weights(targets, counts.astype(np.float64))
    figures = {}
    for strength in STRENGTHS:
        moved = [[with_prior(one, label_weights(own, strength)).argmax() for one in probabilities] for own in counts]
        right = np.asarray(moved) == targets
        own = own_accuracy(right, weights)
        figures[str(strength)] = {
            "mean": float(own.mean()), "worst": float(own.min()), "everywhere": float(right.mean()),
        }  # fmt: skip
    return figures


if __name__ == "__main__":
    raise SystemExit(main())
