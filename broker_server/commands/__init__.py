"""One file for each subcommand: add its parser, do its work."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from broker_server.config import STATE
from edge_runtime.wire.csv_header import Columns


class Subcommands(Protocol):
    """What ``add_subparsers`` returns; argparse has no public name for it."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - as argparse has it
        """Add a subcommand."""
        ...


def parser(commands: Subcommands, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    """Add a subcommand whose help ends with examples."""
    return commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_state(command: argparse.ArgumentParser) -> None:
    """Add the options that every command about existing state has; ``cli.run`` puts the directory into ``state``."""
    command.add_argument(
        "--config",
        type=Path,
        metavar="TOML",
        help="settings that name the state (default: gateway.toml, if here)",
    )
    command.add_argument(
        "--state", type=Path, metavar="DIR", help=f"state directory (default: as the settings say, or {STATE})"
    )
    command.set_defaults(needs_state=True)
    command.add_argument("--json", action="store_true", help="print one JSON value instead of a table")


def add_newest(command: argparse.ArgumentParser, default: int, noun: str) -> None:
    """Add the option that says how much of a history is shown."""
    command.add_argument(
        "--newest", type=whole_number(1), default=default, metavar="N", help=f"the last N {noun} (default: %(default)s)"
    )


def add_columns(command: argparse._ActionsContainer) -> None:
    """Add the options that every command about a file of texts has."""
    command.add_argument("--text-column", metavar="NAME", help="column or key of the texts (default: text)")
    command.add_argument("--label-column", metavar="NAME", help="column or key of the labels (default: label)")


def columns_of(args: argparse.Namespace) -> Columns:
    """Return the columns that the arguments name."""
    return Columns(args.text_column or "", args.label_column or "")


def whole_number(least: int) -> Callable[[str], int]:
    """Return what reads an option that is a whole number of at least ``least``."""

    def number(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or int(text) < least:
            message = f"got {text!r}, expected a whole number of {least} or more"
            raise argparse.ArgumentTypeError(message)
        return int(text)

    return number


def say(text: str) -> None:
    """Print a line of output."""
    sys.stdout.write(text + "\n")


def say_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print a value for machines."""
    say(json.dumps(value, ensure_ascii=False))
