"""The label prior on the command line: which strength, and whose labels are counted."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge_runtime.commands.common import tell_skipped
from edge_runtime.data.examples import open_source
from edge_runtime.errors import ConfigError
from edge_runtime.inference.own_labels import OwnLabels, recalled
from edge_runtime.interface.model import Model
from edge_runtime.interface.participation import check_task
from edge_runtime.store import Store
from edge_runtime.wire.csv_header import Columns
from edge_runtime.wire.label_prior import STRENGTHS


def strength(text: str) -> float:
    """Read a strength of the label prior."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if number not in STRENGTHS:
        raise argparse.ArgumentTypeError(f"got {text[:40]}, expected 0 (off), 0.5 (half) or 1 (full)")
    return number


def add_prior_to_run(parser: argparse.ArgumentParser) -> None:
    """Add --label-prior to ``run``, which keeps the counts that ``predict`` needs."""
    parser.add_argument(
        "--label-prior",
        type=strength,
        default=0.0,
        metavar="STRENGTH",
        help="0, 0.5 or 1: how far `predict --state` follows how often each label occurs in --data; kept on this device"
        " with the counts, never sent (default: 0, off)",
    )


def add_prior_to_predict(parser: argparse.ArgumentParser) -> None:
    """Add --label-prior and --prior-data to ``predict``."""
    group = parser.add_argument_group(
        "label prior",
        "favours labels that this device has many texts of, as Bayes' rule does; for classifiers, and for texts that\n"
        "are like the device's own",
    )
    group.add_argument(
        "--label-prior",
        type=strength,
        metavar="STRENGTH",
        help="0 (off), 0.5 (half) or 1 (full) (default: what `run` was started with for --state, else 0)",
    )
    group.add_argument(
        "--prior-data",
        type=Path,
        metavar="FILE",
        help="count the labels of this file, the device's own texts (default: the counts that `run` kept in --state)",
    )


def own_labels(arguments: argparse.Namespace, model: Model) -> OwnLabels | None:
    """Return the counts and strength that ``predict`` follows; None where no label prior is wanted.

    Raises:
        ConfigError: when one is wanted and nothing says which labels this device has, or the package has none.
    """
    asked: float | None = arguments.label_prior
    check_task(asked or 0.0, model.manifest.architecture)
    labels = model.labels
    if arguments.prior_data is not None:
        if asked is None:
            raise ConfigError("--prior-data came without --label-prior; add --label-prior 0.5 or --label-prior 1")
        return _of_file(arguments, labels, asked) if asked else None
    kept = _kept(arguments.state, len(labels)) if arguments.state is not None else None
    if asked and kept is None:
        raise ConfigError(
            f"--label-prior {asked:g} needs to know this device's labels: give --prior-data FILE with its own texts, or"
            " the --state of an `edge_runtime run` that has counted them"
        )
    if kept is None or not (kept.strength if asked is None else asked):
        return None
    return kept if asked is None else OwnLabels(kept.counts, asked)


def _of_file(arguments: argparse.Namespace, labels: tuple[str, ...], asked: float) -> OwnLabels:
    source = open_source(arguments.prior_data, labels, Columns(arguments.text_column, arguments.label_column))
    tell_skipped(source.skipped, arguments.prior_data)
    return OwnLabels.of(source, len(labels), asked)


def _kept(state: Path, labels: int) -> OwnLabels | None:
    with Store(state) as store:
        return recalled(store, labels)


def prior_of(own: OwnLabels | None) -> dict[str, Any]:
    """Return what methods of ``Model`` take of a label prior."""
    return {} if own is None else {"label_counts": own.counts.tolist(), "label_prior": own.strength}
