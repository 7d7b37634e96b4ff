"""``broker_server enroll``: one file that a device's owner hands over, with all that it needs to take part."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from broker_server.commands import Subcommands, parser, say, say_json
from broker_server.commands.device_way import Way, text_of, way_of
from broker_server.commands.gateway_settings import add_settings, settings_of, state_of
from broker_server.commands.package_folder import package_folder, recorded_setting
from broker_server.errors import UsageError
from broker_server.identity.certificates import Identity, new_device, utc_now
from broker_server.identity.key_files import Issued, issued_to, note_issued, read_pair, write_new
from broker_server.identity.qr import LIMIT, QrCode
from broker_server.state.ledger import NAME, Ledger
from edge_runtime.wire.broker_url import is_loopback
from edge_runtime.wire.enrolment import ENROLMENT_FORMAT, Enrolment, EnrolmentError, GatewayAddress
from edge_runtime.wire.errors import MalformedMessage
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.strict_json import plain_tree
from edge_runtime.wire.topics import check_name

EXAMPLES = """  broker_server enroll kitchen-phone hall-box               where broker_server init was run
  broker_server enroll kitchen-phone --gateway mqtts://gateway.example --ca ca.pem \\
      --certificate kitchen-phone.pem --key kitchen-phone.key --package packages/pixel8
  broker_server enroll kitchen-phone --gateway mqtts://phone@broker.example:8883 --password-file secret.txt
  broker_server enroll emulator --gateway mqtt://127.0.0.1:1883 --out emulator.json --json
"""


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(commands, "enroll", "write the file with which a device joins", EXAMPLES)
    command.description = (
        "Write the file with which a device joins, and a QR code of it for a phone. With a gateway.toml of "
        "broker_server init, the device gets a certificate of that authority, and nothing else has to be said."
    )
    command.add_argument(
        "devices",
        nargs="+",
        metavar="DEVICE",
        help="the device's name in the federation; with TLS its certificate's CN",
    )
    add_settings(command)
    command.add_argument(
        "--gateway", metavar="URL",
        help="the broker as the device reaches it: mqtts://[USER@]HOST[:PORT], wss://..., or mqtt:// on "
        "this machine (default: as the settings say)",
    )  # fmt: skip
    command.add_argument(
        "--package",
        type=Path,
        metavar="DIR",
        help="the device's package (default: the one of the settings or the state, or the only one)",
    )
    command.add_argument(
        "--any-package", action="store_true", help="accept any package of the federation, not only this one"
    )
    command.add_argument(
        "--federation", metavar="NAME", help="the federation's name (default: of the settings or the state, or default)"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="default: DEVICE.enrolment.json; never overwritten")
    command.add_argument("--no-qr", action="store_true", help="write no QR code")
    command.add_argument("--json", action="store_true", help="print one JSON value, without secrets")
    secure = command.add_argument_group("what the file carries")
    secure.add_argument("--ca", type=Path, metavar="PEM", help="authority of the broker's certificate")
    secure.add_argument("--certificate", type=Path, metavar="PEM", help="the device's certificate, made elsewhere")
    secure.add_argument("--key", type=Path, metavar="PEM", help="its key in PKCS#8, not encrypted")
    secure.add_argument("--password-file", type=Path, metavar="FILE", help="the user's password, one line")
    secure.add_argument("--package-key", metavar="HEX", default="", help="refuse packages not signed with this key")
    secure.add_argument(
        "--allow-plaintext", action="store_true", help="allow mqtt:// to another machine, without encryption"
    )
    command.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Do it."""
    if len(args.devices) > 1 and (args.out or args.certificate or args.key):
        raise UsageError("--out, --certificate and --key are of one device; leave them out, or name one device")
    config = settings_of(args, lambda state: package_folder(args.package, state))
    state = state_of(args, config)
    for device in args.devices:
        _check(device, state, _files(args, device))
    folder = args.package or (config.package if config is not None else package_folder(None, state))
    named = config.federation if config is not None else recorded_setting(state, "federation")
    federation = args.federation or named or "default"
    way = way_of(args, config)
    parts = _enrolment(args, federation, Package.open(folder, part="manifest"), way)
    told = [_enroll(args, device, parts, way) for device in dict.fromkeys(args.devices)]
    if args.json:
        say_json([about for about, _ in told] if len(told) > 1 else told[0][0])
        return 0
    for about, code in told:
        _tell(about, code, wanted=not args.no_qr)
    return 0


def _files(args: argparse.Namespace, device: str) -> list[Path]:
    """Return what is written for a device: the enrolment, and its QR code."""
    out = args.out or Path(f"{device}.enrolment.json")
    return [out] if args.no_qr else [out, out.with_suffix(".png")]


def _enroll(
    args: argparse.Namespace, device: str, parts: dict[str, Any], way: Way
) -> tuple[dict[str, Any], QrCode | None]:
    """Write what a device joins with; return what there is to tell of it, and its QR code."""
    identity, issued = _identity(args, device, way)
    try:
        enrolment = Enrolment(
            ENROLMENT_FORMAT, device=device, certificate=identity.certificate, key=identity.key, **parts
        )
    except EnrolmentError as error:
        raise UsageError(str(error)) from error
    data = enrolment.to_json()
    Enrolment.from_json(data)  # what a device would refuse is not handed over
    earlier = _note(way, issued)
    out, *pictures = _files(args, device)
    write_new(out, data)
    code = _qr_code(enrolment) if pictures else None
    if code is not None:
        write_new(pictures[0], code.png())
    about = {
        "out": str(out),
        "qr": str(pictures[0]) if code is not None else "",
        "device": enrolment.device,
        "federation": enrolment.federation,
        "federation_digest": enrolment.federation_digest,
        "package_digest": enrolment.package_digest,
        "gateway": str(way.url),
        "gateway_key": enrolment.gateway_key,
        "package_key": enrolment.package_key,
        "secret": bool(enrolment.key or enrolment.password),
        "certificate": issued.serial if issued is not None else "",
        "certificate_ends": issued.ends if issued is not None else "",
        "earlier_certificates": earlier,
    }
    return about, code


def _tell(about: dict[str, Any], code: QrCode | None, *, wanted: bool) -> None:
    warning = "; it holds a secret: hand it over as one" if about["secret"] else ""
    say(f"{about['out']}: {about['device']} joins {about['federation']} at {about['gateway']}{warning}")
    if about["certificate"]:
        say(f"certificate {about['certificate']}, until {about['certificate_ends']}")
    if about["earlier_certificates"]:
        numbers = ", ".join(about["earlier_certificates"])
        say(f"{about['device']} has other certificates, which go on: {numbers} (broker_server revoke --certificate)")
    if code is None:
        if wanted:
            say(f"no QR code: the enrolment is longer than the {LIMIT} bytes that one holds")
        return
    say(f"{about['qr']}: the same as a QR code")
    if not sys.stdout.isatty():
        return
    if shutil.get_terminal_size().columns >= code.columns:
        sys.stdout.write(code.terminal())
    else:
        say(f"(a terminal of {code.columns} columns would show it here)")


def _check(device: str, state: Path, files: list[Path]) -> None:
    """Refuse before a certificate is signed what would be refused after.

    Raises:
        UsageError: for a name that cannot be one, a revoked device, or a file that is there.
    """
    try:
        check_name(device, "device")
    except MalformedMessage as error:
        raise UsageError(error.detail) from error
    for path in files:
        if path.exists():
            raise UsageError(f"{path} is there already, and nothing is overwritten; choose another file with --out")
    if not (state / NAME).exists():
        return
    ledger = Ledger(state / NAME, read_only=True)
    try:
        revoked = ledger.revoked(device)
    finally:
        ledger.close()
    if revoked:
        raise UsageError(f"{device} is revoked; take it back first with broker_server devices --restore {device}")


def _identity(args: argparse.Namespace, device: str, way: Way) -> tuple[Identity, Issued | None]:
    """Return the device's certificate and key: those of the options, or new ones of our authority; else empty ones."""
    if args.certificate is not None or args.key is not None or way.authority is None:
        return Identity(text_of(args.certificate), text_of(args.key)), None
    identity = new_device(read_pair(way.authority, "the authority"), device, utc_now())
    return identity, Issued(identity.serial, device, identity.ends)


def _note(way: Way, issued: Issued | None) -> list[str]:
    """Remember a certificate; return the earlier ones of its device."""
    if issued is None or way.authority is None:
        return []
    folder = way.authority.parent
    earlier = [one.serial for one in issued_to(folder, issued.device)]
    note_issued(folder, issued)
    return earlier


def _enrolment(args: argparse.Namespace, federation: str, package: Package, way: Way) -> dict[str, Any]:
    """Return what an enrolment is made of, but for the device's certificate."""
    url = way.url
    return {
        "federation": federation,
        "federation_digest": package.manifest.architecture.digest().hex(),
        "package_digest": "" if args.any_package else package.digest.hex(),
        "gateway": GatewayAddress(url.host, url.port, url.tls, not (url.tls or is_loopback(url.host)), url.websocket),
        "ca": way.ca,
        "user": url.user,
        "password": text_of(args.password_file).removesuffix("\n") or url.password,
        "gateway_key": way.gateway_key,
        "package_key": args.package_key,
    }


def _qr_code(enrolment: Enrolment) -> QrCode | None:
    """Return the enrolment as a QR code: the same JSON without spaces and empty texts; None when it is too long."""
    tree = {name: value for name, value in plain_tree(enrolment).items() if value != "" or name == "package_digest"}
    data = json.dumps(tree, separators=(",", ":")).encode()
    return QrCode(data) if len(data) <= LIMIT else None
