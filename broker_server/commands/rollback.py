"""``broker_server rollback``: go on from an earlier version; numbers only grow, so its bank comes as a new one."""

from __future__ import annotations

import argparse

from broker_server.commands import Subcommands, add_state, parser, say, say_json, whole_number
from broker_server.state.requests import ask_rollback

EXAMPLES = """  broker_server versions                     which versions there are, and what they are worth
  broker_server revoke kitchen-phone         first, so that it takes no part any more
  broker_server rollback 12                  the next version has the bank of version 12
"""


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(commands, "rollback", "make an earlier version's bank the next version", EXAMPLES)
    command.description = (
        "Make an earlier version's bank the next version. A running gateway does it as soon as its open round has "
        "closed, another one when it starts. The head is made anew from the class sums of devices that are not revoked."
    )
    command.add_argument("version", type=whole_number(0), metavar="VERSION", help="version to go back to")
    add_state(command)
    command.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Ask for it; every block of the version is checked first."""
    newest = ask_rollback(args.state, args.version)
    if args.json:
        say_json({"rollback": args.version, "newest": newest})
    else:
        say(
            f"version {args.version} comes back as a new version, above {newest}: when the open round has "
            "closed, or when the gateway starts"
        )
    return 0
