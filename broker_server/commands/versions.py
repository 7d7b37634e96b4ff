"""``broker_server versions``: the last versions, the newest at the bottom."""

from __future__ import annotations

import argparse
import time

from broker_server.commands import Subcommands, add_newest, add_state, parser, say_json
from broker_server.commands.tables import say_rest, say_table
from broker_server.views.reading import reading
from broker_server.views.versions import Version, read_versions
from broker_server.views.wording import ago, size

EXAMPLES = """  broker_server versions
  broker_server versions --newest 100 --json
"""


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(commands, "versions", "list the last versions, where they come from and their accuracy", EXAMPLES)
    add_state(command)
    add_newest(command, 20, "versions")
    command.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print them."""
    with reading(args.state) as ledger:
        versions = read_versions(ledger, args.newest)
    if args.json:
        say_json(versions.plain())
        return 0
    now = time.time()
    columns = ("version", "from", "reason", "round", "deltas", "changed", versions.figure, "made", "digest")
    say_table(columns, [_row(one, versions.figure, now) for one in versions.rows], left=0)
    say_rest(len(versions.rows), versions.total, "versions")
    return 0


def _reason(one: Version) -> str:
    if one.held:
        return f"{one.reason}, measured first"
    return one.reason if one.served else f"{one.reason}, not served"


def _row(one: Version, figure: str, now: float) -> list[str]:
    return [
        str(one.number),
        "" if one.parent is None else str(one.parent),
        _reason(one),
        str(one.round or ""),
        str(one.contributors or ""),
        "" if one.changed_bytes is None else size(one.changed_bytes),
        ", ".join(f"{measured.value:.4f}" for measured in one.evaluations if measured.figure == figure),
        ago(one.made_at, now),
        one.digest[:8],
    ]
