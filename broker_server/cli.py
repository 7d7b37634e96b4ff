"""The command line: parse, call one function, tell errors in one line. Exit 0 done, 1 the work failed, 2 bad usage."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from broker_server.commands import (
    config,
    devices,
    enroll,
    evaluate,
    export,
    health,
    init,
    revoke,
    rollback,
    rounds,
    run_gateway,
    status,
    verify,
    versions,
)
from broker_server.commands.gateway_settings import settings_of, state_of
from broker_server.errors import UsageError
from edge_runtime.wire.errors import FederationError, in_one_line

EXAMPLES = """examples:
  broker_server run --package packages/pixel8              serve devices on this machine
  broker_server run --package packages/pixel8 --rounds 20  ... and end after round 20
  broker_server init                                       keys, certificates and settings for other machines
  broker_server enroll phone                               the file with which a device joins, and its QR code
  broker_server status                                     what is going on, while it runs or after
  broker_server export --version 20 --out merged           a bank for: edge_runtime predict --bank merged
  broker_server backup backups/monday                      a copy of the state, also while it runs; verify, restore
  broker_server evaluate --data heldout.csv --version all  accuracy of every version
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="broker_server",
        description="Gateway of a federation: rounds over MQTT, merging per expert, versions with their lineage.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (
        init,
        config,
        run_gateway,
        enroll,
        status,
        health,
        rounds,
        devices,
        versions,
        revoke,
        rollback,
        export,
        evaluate,
        verify,
    ):
        module.add(commands)
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    args = build_parser().parse_args(arguments)
    try:
        if "needs_state" in args and args.state is None:
            args.state = state_of(args, settings_of(args, lambda _: Path()))  # no package is looked for
        code: int = args.main(args)
    except FederationError as error:
        print(f"broker_server: {in_one_line(error, vars(args))}", file=sys.stderr)  # noqa: T201 - the one place for errors
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever reads the output has seen enough (head, less); Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
