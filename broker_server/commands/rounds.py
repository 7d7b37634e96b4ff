"""``broker_server rounds``: the last rounds, the newest at the bottom."""

from __future__ import annotations

import argparse
import time

from broker_server.commands import Subcommands, add_newest, add_state, parser, say_json
from broker_server.commands.tables import Cell, say_rest, say_table
from broker_server.views.reading import reading
from broker_server.views.rounds import Round, read_rounds
from broker_server.views.wording import ago, duration, size

EXAMPLES = """  broker_server rounds
  broker_server rounds --newest 5 --json
"""
COLUMNS = ("round", "closed", "deltas", "size", "loss", "took", "version", "opened")


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(commands, "rounds", "list the last rounds: deltas, loss, how long each took", EXAMPLES)
    add_state(command)
    add_newest(command, 20, "rounds")
    command.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print them."""
    with reading(args.state) as ledger:
        rounds = read_rounds(ledger, args.newest)
    if args.json:
        say_json(rounds.plain())
        return 0
    now = time.time()
    say_table(COLUMNS, [_row(one, now) for one in rounds.rows], left=2)
    say_rest(len(rounds.rows), rounds.total, "rounds")
    return 0


def _row(one: Round, now: float) -> list[str | Cell]:
    plain = one.plain()
    loss, sent = plain["loss_last"], plain["bytes_deltas"]
    of = f" of {one.planned}" if one.planned is not None else ""
    return [
        str(one.number),
        Cell("open", "green") if one.closed_at is None else one.reason,
        f"{one.accepted}{of}{f', {one.distrusted} left out' if one.distrusted else ''}",
        "" if sent is None else size(sent),
        "" if loss is None else f"{loss:.3f}",
        duration(one.seconds(now)),
        "" if one.version is None else f"{one.version}{'' if one.served else ', not served'}",
        ago(one.opened_at, now),
    ]
