"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from edge_runtime.data.prefix_cache import DEFAULT_MB
from edge_runtime.data.trunk import DEFAULT_ROUNDING, ROUNDINGS
from edge_runtime.interface.participation import left_out
from edge_runtime.training.tiers import AUTO
from edge_runtime.wire.data_files import HELP

Subcommands = Any  # argparse's own type for them is private
DATA_HELP = f"{HELP}; for a language model also plain lines (docs/data.md)"


def add_command(commands: Subcommands, name: str, summary: str, text: str, examples: str) -> argparse.ArgumentParser:
    """Add a subcommand with examples at the end of its help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=text,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--package", type=Path, required=True, metavar="DIR", help="device package, made by export.build"
    )
    return parser


def say(line: str) -> None:
    """Write a line of results to stdout at once, so that a pipe sees it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def positive(text: str) -> int:
    """Read a whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a whole number above 0")
    return number


def amount(text: str) -> float:
    """Read a finite number of 0 or more."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text}, expected a number of 0 or more")
    return number


def public_key(text: str) -> str:
    """Take a public key: 32 bytes in hex."""
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(f"got {text[:80]}, expected 64 lower-case hex digits")
    return text


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add --text-column and --label-column."""
    parser.add_argument("--text-column", default="", metavar="NAME", help="column or key of the texts (default: text)")
    parser.add_argument(
        "--label-column", default="", metavar="NAME", help="column or key of the labels (default: label)"
    )


def columns_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the columns that the arguments name, as methods of ``Model`` take them."""
    return {"text_column": arguments.text_column, "label_column": arguments.label_column}


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add --threads."""
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: the profile's)")


def add_prefixes(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add the options of the prefix cache; ``folder`` says where it stands unless the user does."""
    group = parser.add_argument_group(
        "prefix cache", "keeps what frozen layers compute, for packages built with --layers last:N"
    )
    group.add_argument("--prefix-cache", type=Path, metavar="DIR", help=f"where it is kept (default: {folder})")
    group.add_argument(
        "--prefix-cache-mb",
        type=amount,
        default=DEFAULT_MB,
        metavar="MB",
        help="largest size; 0 switches it off (%(default)s)",
    )
    group.add_argument(
        "--prefix-rounding", choices=ROUNDINGS, default=DEFAULT_ROUNDING, help="precision of what is kept (%(default)s)"
    )


def prefixes_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what ``Model.train`` and ``Model.join`` take of the prefix cache."""
    return {
        "prefix_cache": arguments.prefix_cache,
        "prefix_cache_mb": arguments.prefix_cache_mb,
        "prefix_rounding": arguments.prefix_rounding,
    }


def tell_skipped(skipped: int, path: Path) -> None:
    """Say on stderr how many rows of a file were left out; nothing when none was."""
    if skipped:
        warn(f"{path}: {left_out(skipped)}")


def warn(line: str) -> None:
    """Write a line for people to stderr."""
    sys.stderr.write(f"edge_runtime: {line}\n")


def add_tier(parser: argparse.ArgumentParser) -> None:
    """Add --tier."""
    parser.add_argument(
        "--tier",
        default=AUTO,
        metavar="NAME",
        help="program size to train with, as `doctor` lists them; one of fewer layers (l2_...) trains the top ones"
        " alone; auto: the largest that the budget allows, with no more rows than the texts need, a smaller one while"
        " memory is short or the device is hot (%(default)s)",
    )


def add_bank(parser: argparse.ArgumentParser) -> None:
    """Add --bank and --state."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--bank", type=Path, metavar="PATH", help="bank to start from: a file, or a directory with bank.safetensors"
    )
    where.add_argument(
        "--state", type=Path, metavar="DIR", help="take the newest version that `run --state DIR` received"
    )


@contextmanager
def until_signal() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether Ctrl-C or SIGTERM came; a second one ends the process at once."""
    came = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
