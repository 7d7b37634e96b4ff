"""``broker_server health``: one line and an exit code, for containers and whatever else watches a gateway."""

from __future__ import annotations

import argparse
import socket
import time
from typing import Final

from broker_server.commands import Subcommands, add_state, parser, say, say_json
from broker_server.state.gateway_facts import GatewayFacts
from broker_server.views.liveness import liveness
from broker_server.views.reading import reading
from broker_server.views.wording import ago
from edge_runtime.wire.broker_url import BrokerUrl

EXAMPLES = """  broker_server health
  broker_server health --state /var/lib/edge-experts --json
  HEALTHCHECK CMD ["broker_server", "health", "--state", "/state"]     in a Dockerfile
"""
CONNECT_S: Final = 2.0
_HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a listener on every address is found


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(
        commands, "health", "exit with 0 when the gateway works and its broker answers, else with 1", EXAMPLES
    )
    add_state(command)
    command.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Look; 0 when all is well."""
    now = time.time()
    with reading(args.state) as ledger:
        facts = GatewayFacts.read(ledger)
    alive = liveness(args.state)
    state = alive.state(now)
    wrong = "" if state == "running" else f"the gateway is {state}, it was alive {ago(alive.alive_at, now)}"
    wrong = wrong or (_unreachable(facts.url) if facts else "")
    if args.json:
        say_json({"healthy": not wrong, "gateway": state, "wrong": wrong})
    else:
        say(wrong or f"the gateway works, its broker {facts.url if facts else ''} answers")
    return 1 if wrong else 0


def _unreachable(url: str) -> str:
    """Return what keeps a connection to the broker from being made; "" when nothing does."""
    broker = BrokerUrl.parse(url, allow_plaintext=True)
    try:
        socket.create_connection((_HERE.get(broker.host, broker.host), broker.port), CONNECT_S).close()
    except OSError as error:
        return f"the broker {url} cannot be reached: {error.strerror or error}"
    return ""
