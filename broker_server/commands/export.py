"""``broker_server export``: one version as files that ``edge_runtime predict --bank`` reads."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from broker_server.commands import Subcommands, add_state, parser, say, say_json
from broker_server.state.files import write_durably
from broker_server.state.store import Store
from edge_runtime.wire.digests import sha256

EXAMPLES = """  broker_server export --out merged                the newest version
  broker_server export --version 12 --out v12 --state runs/gateway
  edge_runtime predict --package packages/pixel8 --bank merged "set an alarm for six"
"""


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(commands, "export", "write a version's bank to a folder", EXAMPLES)
    add_state(command)
    command.add_argument(
        "--version", type=int, metavar="N", help="version to write (default: the newest that devices get)"
    )
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for bank.safetensors and version.json"
    )
    command.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Do it; every block's digest is checked on the way out."""
    store = Store.open_read_only(args.state)
    served = store.ledger.served()
    newest = served.version if served is not None else None
    row, bank = store.lineage.load(newest if args.version is None else args.version)
    data = bank.to_bytes(store.lineage.federation)
    about = {
        "version": row.version,
        "parent": row.parent,
        "digest": row.digest.hex(),
        "federation_digest": store.lineage.federation.hex(),
        "round": row.round,
        "reason": row.reason,
        "contributors": row.contributors,
        "bank_sha256": sha256(data).hex(),
    }
    write_durably(args.out / "bank.safetensors", data, private=False)
    write_durably(args.out / "version.json", (json.dumps(about, indent=1) + "\n").encode(), private=False)
    if args.json:
        say_json(about | {"out": str(args.out)})
    else:
        say(f"version {row.version} ({row.digest.hex()[:12]}) is in {args.out}: bank.safetensors, version.json")
    return 0
