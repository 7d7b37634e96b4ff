"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from edge_runtime.data.batches import Source
from edge_runtime.data.lengths import SAMPLE, lengths_of
from edge_runtime.data.prefix_cache import DEFAULT_MB, PrefixCache
from edge_runtime.data.trunk import DEFAULT_ROUNDING, ROUNDINGS
from edge_runtime.errors import ConfigError
from edge_runtime.federation.versions import Versions
from edge_runtime.opened_package import Parts
from edge_runtime.store import Store
from edge_runtime.training.tiers import AUTO
from edge_runtime.training.watch import Watch
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.csv_header import Columns
from edge_runtime.wire.data_files import HELP
from edge_runtime.wire.errors import BankError
from edge_runtime.wire.text import counted

Subcommands = Any  # argparse's own type for them is private
BANK_FILE = "bank.safetensors"
VERSION_FILE = "version.json"
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


def public_key(text: str) -> bytes:
    """Read a public key: 32 bytes in hex."""
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(f"got {text[:80]}, expected 64 lower-case hex digits")
    return bytes.fromhex(text)


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add --text-column and --label-column."""
    parser.add_argument("--text-column", default="", metavar="NAME", help="column or key of the texts (default: text)")
    parser.add_argument(
        "--label-column", default="", metavar="NAME", help="column or key of the labels (default: label)"
    )


def columns_of(arguments: argparse.Namespace) -> Columns:
    """Return the columns that the arguments name."""
    return Columns(arguments.text_column, arguments.label_column)


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


def open_prefixes(arguments: argparse.Namespace, folder: Path) -> PrefixCache:
    """Return the cache that the arguments name, in ``folder`` unless they name another."""
    return PrefixCache(arguments.prefix_cache or folder, arguments.prefix_cache_mb, warn)


def left_out(skipped: int) -> str:
    """Return what is said of rows without a text."""
    return f"{counted(skipped, 'row')} without a text {'was' if skipped == 1 else 'were'} left out"


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


def suited(watch: Watch, parts: Parts, source: Source) -> Watch:
    """Return the watch without tiers of more rows than the first texts of the data need."""
    longest = watch.largest.seq_len
    return watch.for_texts(lambda: lengths_of(source, SAMPLE, parts.tokenizer, longest).tolist())


def add_bank(parser: argparse.ArgumentParser) -> None:
    """Add --bank and --state."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--bank", type=Path, metavar="PATH", help="bank to start from: a file, or a directory with bank.safetensors"
    )
    where.add_argument(
        "--state", type=Path, metavar="DIR", help="take the newest version that `run --state DIR` received"
    )


def load_bank(parts: Parts, bank: Path | None, state: Path | None) -> tuple[Bank, str]:
    """Return the bank that the arguments name, and its name for people.

    Raises:
        BankError: when the file is for another federation, or not the version that stands beside it.
        ConfigError: when there is no such state.
    """
    if bank is not None:
        path = bank / BANK_FILE if bank.is_dir() else bank
        federation = parts.manifest.architecture.digest()
        stored = Bank.read(path, parts.manifest.architecture.bank_shape, federation)
        if bank.is_dir():
            _check_version(bank / VERSION_FILE, stored, federation)
        return stored, str(path)
    if state is not None:
        if not (state / "lock").exists():
            raise ConfigError(f"{state} is no state directory; give the --state of an `edge_runtime run`")
        with Store(state) as store:
            merged, version = Versions(store, parts.package).latest_bank()
        return merged, f"version {version}"
    return parts.initial_bank(), "the package's bank"


def _check_version(path: Path, bank: Bank, federation: bytes) -> None:
    """Hold a bank against what `broker_server export` wrote beside it, when it did."""
    if not path.exists():
        return
    try:
        told = json.loads(path.read_bytes())
        wanted = {name: str(told[name]) for name in ("digest", "federation_digest")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BankError(
            f"{path} is not what broker_server export writes ({error}); export the version again"
        ) from error
    for name, have in (("federation_digest", federation.hex()), ("digest", bank.digest().hex())):
        if wanted[name] != have:
            raise BankError(
                f"{path.parent}: {name} is {have[:12]}, {path.name} says {wanted[name][:12]}; "
                "the bank was changed or is for another package; export the version again"
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
