"""``broker_server evaluate``: accuracy or perplexity of versions on held-out text, through ONNX Runtime."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from broker_server.commands import Subcommands, add_columns, add_state, columns_of, parser, say, say_json, whole_number
from broker_server.commands.package_folder import package_folder
from broker_server.commands.version_list import version_list
from broker_server.display import shortfalls
from broker_server.errors import UsageError
from broker_server.evaluation.data import held_out
from broker_server.evaluation.gain import no_better_than
from broker_server.evaluation.onnx_model import Figures, TextFigures
from broker_server.state.store import Store
from edge_runtime.wire.data_files import HELP
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.text import counted

EXAMPLES = """  broker_server evaluate --data heldout.csv                    the newest version
  broker_server evaluate --data heldout.csv --version all --json
  broker_server evaluate --data heldout.csv --version 1,4-6    some
  broker_server evaluate --data heldout.csv --package packages/linux-x86_64
"""


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(commands, "evaluate", "measure versions on held-out text", EXAMPLES)
    add_state(command)
    command.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"{HELP}; for a language model also plain lines (docs/data.md)",
    )
    add_columns(command)
    command.add_argument("--version", default="", metavar="N,N-M|all", help="one, some, or all (default: the newest)")
    command.add_argument(
        "--package", type=Path, metavar="DIR", help="device package (default: the one the gateway was started with)"
    )
    command.add_argument(
        "--limit",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="use at most N texts, spread over the file; 0: all (default: 0)",
    )
    command.add_argument(
        "--threads",
        type=whole_number(1),
        default=os.cpu_count() or 1,
        metavar="N",
        help="threads of ONNX Runtime (default: %(default)s)",
    )
    command.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Do it."""
    store = Store.open_read_only(args.state)
    folder = package_folder(args.package, args.state)
    package = Package.open(folder, part="gateway")
    if package.manifest.architecture.digest() != store.lineage.federation:
        msg = f"package {folder} is of another federation than {args.state}; give one of its packages with --package"
        raise UsageError(msg)
    versions = store.ledger.versions()
    numbers = version_list(args.version, [row.version for row in versions])
    held_out_data = held_out(package, args.data, args.limit, max(1, args.threads), columns_of(args))
    rows: list[dict[str, Any]] = []
    accuracies = store.ledger.accuracies(held_out_data.name)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        for number in progress.track(numbers, description="versions"):
            row, bank = store.lineage.load(number)
            figures = held_out_data.measure(bank)
            if isinstance(figures, Figures):
                accuracies[number] = figures.accuracy
            start = no_better_than(number, figures, versions, accuracies)
            plain = figures.plain() if start is None else {**figures.plain(), "no_better_than": start}
            rows.append({"version": row.version, "reason": row.reason, "round": row.round, **plain})
            if not args.json:
                say(f"version {row.version:3d}  {row.reason:7s}  {_shown(figures)}{shortfalls(plain)}")
    if args.json:
        say_json(rows)
    return 0


def _shown(figures: Figures | TextFigures) -> str:
    if isinstance(figures, TextFigures):
        return f"perplexity {figures.perplexity:.2f}  {figures.tokens} tokens"
    texts = counted(figures.examples, "text")
    return f"accuracy {figures.accuracy:.4f}  macro-F1 {figures.macro_f1:.4f}  {texts}"
