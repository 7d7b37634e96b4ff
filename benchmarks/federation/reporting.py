"""Commands on runs that are there: tables, pictures, and keeping them in benchmarks/results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks import record
from benchmarks.federation import metrics, page, texts
from benchmarks.federation.figures import Run, run_of

UNKNOWN: Final = "unknown"
"""What ``record.commit`` says where there is no git."""


class Commands(Protocol):
    """What ``add_subparsers`` returns; argparse has no public name for it."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - as argparse has it
        """Add a subcommand."""
        ...


class RunsError(Exception):
    """A file of runs cannot be read; the text says which line."""


def add_commands(commands: Commands) -> None:
    """Add ``tables``, ``plots`` and ``keep``; each sets ``main``, which takes the parsed options."""
    tables = commands.add_parser("tables", help="print the tables of an experiment's runs, in Markdown")
    plots = commands.add_parser("plots", help="draw the curves of each cell, its experts, and its clients")
    keep = commands.add_parser("keep", help="add runs to benchmarks/results; then: make results")
    for one in (tables, plots, keep):
        one.add_argument("runs", type=Path, nargs="+", metavar="RUNS.jsonl", help="what a run of an experiment wrote")
    plots.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the pictures")
    plots.add_argument(
        "--data", type=Path, metavar="F.npz", help="with it, the labels of each client are drawn as well"
    )
    keep.add_argument(
        "--made-by", required=True, metavar="COMMAND", help="that made the runs; it stands beside the figures"
    )
    keep.add_argument("--commit", help="commit of runs made from a copy without git (default: this checkout's)")
    tables.set_defaults(main=print_tables)
    plots.set_defaults(main=draw)
    keep.set_defaults(main=keep_runs)


def read(files: Sequence[Path]) -> list[Run]:
    """Return the runs of some files.

    Raises:
        RunsError: when a file cannot be read or a line is no run.
    """
    runs = []
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RunsError(f"{file}: {error}") from error
        for number, line in enumerate(lines, start=1):
            try:
                runs += [run_of(line)] if line.strip() else []
            except ValueError as error:
                raise RunsError(f"{file}, line {number}: {error}") from error
    if not runs:
        raise RunsError(f"no runs in {', '.join(map(str, files))}")
    return runs


def print_tables(options: argparse.Namespace) -> int:
    """Print the part of docs/results.md for each experiment of the runs."""
    runs = read(options.runs)
    for name in dict.fromkeys(run.experiment for run in runs):
        sys.stdout.write(page.experiment(name, metrics.newest(run for run in runs if run.experiment == name)))
    return 0


def draw(options: argparse.Namespace) -> int:
    """Draw the pictures of the runs and say where they are."""
    from benchmarks.federation import plots  # noqa: PLC0415 - matplotlib, which a machine that only trains may lack

    runs = read(options.runs)
    paths = [path for name, own in _by_experiment(runs).items() for path in plots.draw(own, options.out / name)]
    if options.data:
        cells = dict.fromkeys((run.experiment, run.cell) for run in runs)
        for name, cell in cells:
            seed = min(run.seed for run in runs if run.cell == cell)
            paths += plots.draw_clients(texts.load(options.data, cell.texts), cell, seed, options.out / name)
    sys.stdout.write("".join(f"{path}\n" for path in paths))
    return 0


def _by_experiment(runs: Sequence[Run]) -> dict[str, list[Run]]:
    names = dict.fromkeys(run.experiment for run in runs)
    return {name: [run for run in runs if run.experiment == name] for name in names}


def keep_runs(options: argparse.Namespace) -> int:
    """Add the runs to the kept results."""
    runs = metrics.newest(read(options.runs))
    commit = options.commit or record.commit()
    for run in runs:
        known = run.where.get("commit", UNKNOWN) != UNKNOWN
        page.keep(run if known else replace(run, where={**run.where, "commit": commit}), options.made_by)
    sys.stdout.write(f"kept {len(runs)} runs; now: make results\n")
    return 0
