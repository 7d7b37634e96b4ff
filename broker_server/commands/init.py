"""``broker_server init``: what a gateway for other machines needs, made once: keys, certificates, settings."""

from __future__ import annotations

import argparse
import ipaddress
from pathlib import Path
from typing import Any, Final

from broker_server.commands import Subcommands, parser, say, say_json
from broker_server.config import STATE, GatewayConfig
from broker_server.config_file import CONFIG, load
from broker_server.config_tables import Listen
from broker_server.config_text import config_text
from broker_server.errors import StorageError, UsageError
from broker_server.identity.certificates import (
    AUTHORITY_DAYS,
    DEVICE_DAYS,
    GATEWAY_DAYS,
    Identity,
    hosts_of,
    new_authority,
    new_gateway,
    utc_now,
)
from broker_server.identity.key_files import (
    AUTHORITY,
    GATEWAY,
    ISSUED,
    REVOKED,
    SIGNING_KEY,
    keep_pair,
    read_pair,
    write_new,
)
from broker_server.identity.machine import LOCAL, hosts_here
from edge_runtime.wire.broker_url import HOST
from edge_runtime.wire.errors import MalformedMessage
from edge_runtime.wire.signatures import SigningKey
from edge_runtime.wire.topics import check_name

IDENTITY: Final = "identity"
PORT: Final = 8883
NAME_BYTES: Final = 64
"""Of a CN at most (X.520, upper bounds)."""
EXAMPLES = """  broker_server init
  broker_server init /srv/federation --host gateway.example --host 192.168.0.7 --package packages/pixel8
  broker_server init /etc/edge-experts --state /var/lib/edge-experts --package /srv/packages/pixel8
  broker_server init --renew        a new certificate for the gateway; devices keep theirs
"""
_HEAD = """Settings of a gateway, written by broker_server init. What stands behind a # is the default; take the # away
to change it. Options of broker_server run go before this file. Relative paths begin in the folder of this file."""


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(commands, "init", "make an authority, the gateway's certificate and its settings, once", EXAMPLES)
    command.description = (
        f"Make, in DIR: {CONFIG} with every setting explained; identity/ with an authority (its certificate holds for "
        f"{AUTHORITY_DAYS // 365} years), the gateway's certificate and key for TLS ({GATEWAY_DAYS // 365} years, "
        f"--renew makes the next), and the key that signs what it says. Nothing is overwritten. Then: cd DIR; "
        f"broker_server enroll DEVICE (certificates of {DEVICE_DAYS // 365} years); broker_server run."
    )
    command.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: this folder")
    command.add_argument(
        "--host", action="append", metavar="HOST",
        help="name or address by which devices reach the gateway; repeat it for more, the first goes into enrolments "
        "(default: this machine's addresses and names)",
    )  # fmt: skip
    command.add_argument("--port", type=int, default=PORT, help="to listen on (default: %(default)s)")
    command.add_argument(
        "--federation", default="default", metavar="NAME", help="the federation's name (default: %(default)s)"
    )
    command.add_argument("--package", type=Path, metavar="DIR", help="device package of the federation")
    command.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help=f"state directory, below DIR unless it is absolute (default: {STATE})",
    )
    command.add_argument(
        "--renew",
        action="store_true",
        help="only make a new certificate for the gateway, and keep the old one beside it",
    )
    command.add_argument("--json", action="store_true", help="print one JSON value, without secrets")
    command.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Do it."""
    about = _renew(args) if args.renew else _init(args)
    if args.json:
        say_json(about)
        return 0
    if args.renew:
        say(f"{about['certificate']}: for {', '.join(about['hosts'])}, until {about['gateway_ends']}")
        say("a running gateway takes it after SIGHUP, or when it is started again; devices need nothing new")
        return 0
    say(f"{about['config']}: every setting; federation {args.federation}, port {args.port}")
    say(f"{about['identity']}: authority until {about['authority_ends']}; whoever has authority.key can let devices in")
    say(f"gateway's certificate for {', '.join(about['hosts'])}, until {about['gateway_ends']}")
    say(f"devices connect to {about['public_host']}; next: broker_server enroll DEVICE, broker_server run")
    return 0


def _init(args: argparse.Namespace) -> dict[str, Any]:
    folder, identity = args.folder, args.folder / IDENTITY
    hosts = _hosts(args.host)
    try:
        check_name(args.federation, "federation")
    except MalformedMessage as error:
        raise UsageError(error.detail) from error
    values = _values(args, hosts[0])
    GatewayConfig(args.package or Path(), federation=args.federation, listen=Listen(port=args.port))  # refuses early
    there = [path for path in (folder / CONFIG, identity) if path.exists()]
    if there:
        raise UsageError(
            f"{' and '.join(map(str, there))} {'is' if len(there) == 1 else 'are'} there already, and nothing is "
            "overwritten; choose another DIR, or --renew for the gateway's certificate alone"
        )
    now = utc_now()
    authority = new_authority(f"edge-experts {args.federation}"[:NAME_BYTES], now)
    gateway = new_gateway(authority, list(dict.fromkeys([*hosts, *LOCAL])), now)
    _make_folder(identity)
    keep_pair(identity, AUTHORITY, authority)
    keep_pair(identity, GATEWAY, gateway)
    signing = SigningKey.create(identity / SIGNING_KEY)
    for name in (ISSUED, REVOKED):
        write_new(identity / name, b"")
    write_new(folder / CONFIG, config_text(values, _HEAD).encode())
    return {
        "config": str(folder / CONFIG),
        "identity": str(identity),
        "hosts": hosts_of(gateway.certificate),
        "public_host": hosts[0],
        "authority_ends": authority.ends,
        "gateway_ends": gateway.ends,
        "gateway_key": signing.public.hex(),
    }


def _values(args: argparse.Namespace, host: str) -> dict[str, Any]:
    identity = Path(IDENTITY)
    package = {} if args.package is None else {"package": args.package.resolve()}
    return package | {
        "state": args.state or STATE,
        "federation": args.federation,
        "signing_key": identity / SIGNING_KEY,
        "listen.host": "::" if ":" in host else "0.0.0.0",  # noqa: S104 - with TLS and certificates of both sides
        "listen.port": args.port,
        "listen.ca": identity / f"{AUTHORITY}.pem",
        "listen.certificate": identity / f"{GATEWAY}.pem",
        "listen.key": identity / f"{GATEWAY}.key",
        "listen.revoked": identity / REVOKED,
        "listen.public_host": host,
    }


def _hosts(chosen: list[str] | None) -> list[str]:
    hosts = [_plain(host) for host in chosen] if chosen else hosts_here()
    if not hosts:
        raise UsageError("this machine has no address or name but loopback; say --host")
    return list(dict.fromkeys(hosts))


def _plain(host: str) -> str:
    """Return a host as certificates and enrolments have it.

    Raises:
        UsageError: when it is none.
    """
    bare = host.removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        if HOST.fullmatch(host) and ":" not in host:
            return host.lower()
    raise UsageError(f"--host {host!r} is no name or address, expected gateway.example or 192.168.0.7")


def _make_folder(identity: Path) -> None:
    try:
        if not identity.parent.exists():
            identity.parent.mkdir(mode=0o700, parents=True)
        identity.mkdir(mode=0o700)
    except OSError as error:
        raise StorageError(f"cannot make {identity}: {error.strerror}; choose another DIR") from error


def _renew(args: argparse.Namespace) -> dict[str, Any]:
    """Put a new certificate and key in place of the gateway's, and the old pair beside them."""
    listen = load(args.folder / CONFIG, {"package": Path()}).listen
    if listen.ca is None or listen.certificate is None or listen.key is None:
        raise UsageError(f"{args.folder / CONFIG} names no certificates; broker_server init makes them in a new DIR")
    authority = read_pair(listen.ca, "the authority")
    try:
        old = Identity(listen.certificate.read_text(encoding="ascii"), "")
        hosts = _hosts(args.host) + list(LOCAL) if args.host else hosts_of(old.certificate)
        kept = f".until-{old.ends}-{old.serial[:8].lower()}"
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {listen.certificate}: {error}") from error
    new = new_gateway(authority, list(dict.fromkeys(hosts)), utc_now())
    for path, text in ((listen.key, new.key), (listen.certificate, new.certificate)):
        beside = path.with_name(path.name + ".new")
        write_new(beside, text.encode())
        try:
            path.rename(path.with_name(path.stem + kept + path.suffix))
            beside.rename(path)
        except OSError as error:
            raise StorageError(f"cannot replace {path}: {error.strerror}") from error
    return {"certificate": str(listen.certificate), "hosts": hosts_of(new.certificate), "gateway_ends": new.ends}
