"""``broker_server revoke``: a device, with every certificate that it has, or one certificate, is let in no more."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from broker_server.commands import Subcommands, parser, say, say_json
from broker_server.commands.gateway_settings import add_settings, settings_of, state_of
from broker_server.config import GatewayConfig
from broker_server.errors import StorageError, UsageError
from broker_server.identity.key_files import serial
from broker_server.state.ledger import NAME
from broker_server.state.requests import certificates_of, mark, refuse_certificates, revocation_file
from broker_server.state.store import Store

EXAMPLES = """  broker_server revoke kitchen-phone
  broker_server revoke --certificate 5A3F0C…       one that was lost; the device goes on with another
"""


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(commands, "revoke", "let a device, or one certificate, in no more", EXAMPLES)
    command.description = (
        "No longer let a device in, with any certificate that broker_server enroll gave it; a running gateway cuts it "
        "off within seconds. Its certificates stay revoked: broker_server devices --restore takes the name back, and "
        "enroll makes a new one."
    )
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("devices", nargs="*", default=[], metavar="DEVICE", help="names of devices")
    what.add_argument("--certificate", nargs="+", default=[], metavar="SERIAL", help="serial numbers, in hexadecimal")
    add_settings(command)
    command.add_argument("--json", action="store_true", help="print one JSON value")
    command.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Do it."""
    config = settings_of(args, lambda _: Path())  # no package is looked for
    state = state_of(args, config)
    certificates = _serials(args, config)
    registered = _registered(state) if args.devices else []
    unknown = [name for name in args.devices if name not in registered and name not in certificates.values()]
    if unknown:
        raise UsageError(
            f"no device {', '.join(map(repr, unknown))}, neither in {state} nor among the certificates that were "
            f"signed; nothing was changed; there are: {', '.join(registered[:8]) or 'none'}"
        )
    refuse_certificates(config, certificates)
    mark(state, [name for name in args.devices if name in registered], revoked=True)
    about: dict[str, Any] = {"devices": args.devices, "certificates": sorted(certificates)}
    if args.json:
        say_json(about)
        return 0
    names = ", ".join(args.devices or about["certificates"])
    many = len(args.devices or certificates) > 1
    say(f"{names} {'are' if many else 'is'} revoked; a running gateway heeds it within seconds")
    return 0


def _serials(args: argparse.Namespace, config: GatewayConfig | None) -> dict[str, str]:
    """Return the certificates to be refused, with what to note beside each."""
    try:
        named = {serial(text, "--certificate"): "by its number" for text in args.certificate}
    except StorageError as error:
        raise UsageError(str(error)) from error
    if named:
        revocation_file(config)
    return named if config is None else named | certificates_of(config, args.devices)


def _registered(state: Path) -> list[str]:
    if not (state / NAME).exists():
        return []
    return [row["device"] for row in Store.open_read_only(state).ledger.devices()]
