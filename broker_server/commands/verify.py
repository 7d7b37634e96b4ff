"""``broker_server verify``, ``backup`` and ``restore``: what is wrong with a state, and a copy against that."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from broker_server.commands import Subcommands, add_state, parser, say, say_json, whole_number
from broker_server.errors import StateError
from broker_server.rounds.merging import Merging
from broker_server.rules.weights import Caps
from broker_server.state.backup import back_up, restore
from broker_server.state.copy_lock import copying
from broker_server.state.inspection import RESTORE, Finding, inspect
from broker_server.state.store import Store
from edge_runtime.wire.text import counted

VERIFY = """  broker_server verify                      everything in gateway-state, also while its gateway runs
  broker_server verify --state copy --json  of a copy, for a program
"""
BACKUP = """  broker_server backup backups/monday       while the gateway runs
"""
RESTORE_EXAMPLES = """  broker_server restore backups/monday --set-aside
  broker_server restore backups/monday --state new --announced 41
"""


def add(commands: Subcommands) -> None:
    """Add the three subcommands."""
    check = parser(commands, "verify", "check every file of the state, and make the newest version again", VERIFY)
    backup = parser(commands, "backup", "copy the state to a new folder, also while the gateway runs", BACKUP)
    back = parser(commands, "restore", "check a backup and put it in the state directory's place", RESTORE_EXAMPLES)
    for command, main in ((check, main_verify), (backup, main_backup), (back, main_restore)):
        add_state(command)
        command.set_defaults(main=main)
    backup.add_argument("destination", type=Path, metavar="DEST", help="folder that does not exist yet")
    back.add_argument("backup", type=Path, metavar="SRC", help="folder that broker_server backup made")
    back.add_argument("--set-aside", action="store_true", help="move an existing state to a new name beside it")
    back.add_argument(
        "--announced", type=whole_number(0), default=-1, metavar="N",
        help="newest version that devices may have heard of, when the existing state does not say: the restored "
        "bank gets a higher number (default: as HEAD of --state says)",
    )  # fmt: skip


def main_verify(args: argparse.Namespace) -> int:
    """Say what is wrong; 1 when something is."""
    store = Store.open_read_only(args.state)
    with copying(args.state):
        findings = list(inspect(store))
        if findings:  # a gateway that runs may have written something meanwhile: what stays wrong counts
            still = set(inspect(store))
            findings = [one for one in findings if one in still]
        again = "not tried: something is damaged" if findings else _rederived(store)
    if again.startswith("differs"):
        findings.append(Finding("ledger.sqlite3", again, RESTORE))
    row = store.ledger.version()
    number = row.version if row else None
    tree = {"version": number, "rederived": again, "wrong": [dataclasses.asdict(one) for one in findings]}
    if args.json:
        say_json(tree)
    else:
        for one in findings:
            say(f"{one.file}: {one.detail}; {one.repair}")
        sound = counted(len(findings), "fault") if findings else "everything is as it was written"
        say(f"version {number}: {sound}; newest merge made again from its deltas: {again}")
    return 1 if findings else 0


def _rederived(store: Store) -> str:
    """Make the newest merge again from its parent and its deltas; return what came of it, in words."""
    merges = [row for row in store.ledger.versions() if row.reason == "merge"]
    if not merges:
        return "nothing was merged yet"
    try:
        merging = Merging(store, train_head=False, caps=Caps(0.0, 1.0, 0.0))
        step = merging.rederived(merges[-1])
    except StateError as error:
        return f"not possible: {error}"
    if step is None:
        return f"differs: version {merges[-1].version} is not what its {merges[-1].contributors} deltas make"
    return f"the same bytes (version {merges[-1].version})"


def main_backup(args: argparse.Namespace) -> int:
    """Do it."""
    version = back_up(args.state, args.destination)
    if args.json:
        say_json({"version": version, "backup": str(args.destination)})
    else:
        say(f"version {version} and all that belongs to it is in {args.destination}")
    return 0


def main_restore(args: argparse.Namespace) -> int:
    """Do it."""
    done = restore(args.backup, args.state, time.time(), announced=args.announced, set_aside=args.set_aside)
    if args.json:
        say_json({"version": done.version, "from_version": done.from_version, "aside": str(done.aside or "")})
        return 0
    number = f"version {done.from_version}"
    number += f", as version {done.version}: later ones had been announced" if done.version != done.from_version else ""
    say(f"{args.state} is {args.backup}'s {number}")
    if done.aside is not None:
        say(f"what was there is in {done.aside}")
    elif args.announced < 0:
        say("if devices heard of later versions, restore again with --announced N: numbers must not run twice")
    return 0
