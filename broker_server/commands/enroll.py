"""``broker_server enroll``: one file that a device's owner hands over, with all that it needs to take part."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from broker_server.broker.mqtt import Target
from broker_server.commands import Subcommands, parser, say, say_json
from broker_server.commands.package_folder import package_folder, recorded_setting
from broker_server.config import STATE
from broker_server.errors import StorageError, UsageError
from edge_runtime.wire.broker_url import is_loopback
from edge_runtime.wire.enrolment import ENROLMENT_FORMAT, Enrolment, EnrolmentError, GatewayAddress
from edge_runtime.wire.manifest import Package

EXAMPLES = """  broker_server enroll kitchen-phone --gateway mqtts://gateway.example --ca ca.pem \\
      --certificate kitchen-phone.pem --key kitchen-phone.key --package packages/pixel8
  broker_server enroll kitchen-phone --gateway mqtts://phone@broker.example:8883 --password-file secret.txt
  broker_server enroll emulator --gateway mqtt://127.0.0.1:1883 --out emulator.json --json
"""


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(commands, "enroll", "write the file with which a device joins", EXAMPLES)
    command.add_argument("device", metavar="DEVICE", help="its name in the federation; with TLS its certificate's CN")
    command.add_argument(
        "--gateway", required=True, metavar="URL",
        help="the broker as the device reaches it: mqtts://[USER@]HOST[:PORT], or mqtt:// on this machine",
    )  # fmt: skip
    command.add_argument(
        "--package",
        type=Path,
        metavar="DIR",
        help="the device's package (default: the one the state names, or the only one)",
    )
    command.add_argument(
        "--any-package", action="store_true", help="accept any package of the federation, not only this one"
    )
    command.add_argument(
        "--state", type=Path, default=STATE, metavar="DIR", help="state directory of the gateway (default: %(default)s)"
    )
    command.add_argument(
        "--federation", metavar="NAME", help="the federation's name (default: the one the state names, or default)"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="default: DEVICE.enrolment.json; never overwritten")
    command.add_argument("--json", action="store_true", help="print one JSON value, without secrets")
    secure = command.add_argument_group("what the file carries")
    secure.add_argument("--ca", type=Path, metavar="PEM", help="authority of the broker's certificate")
    secure.add_argument("--certificate", type=Path, metavar="PEM", help="the device's certificate")
    secure.add_argument("--key", type=Path, metavar="PEM", help="its key in PKCS#8, not encrypted")
    secure.add_argument("--password-file", type=Path, metavar="FILE", help="the user's password, one line")
    secure.add_argument(
        "--allow-plaintext", action="store_true", help="allow mqtt:// to another machine, without encryption"
    )
    command.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Do it."""
    package = Package.open(package_folder(args.package, args.state), part="manifest")
    target = Target.parse(args.gateway, allow_plaintext=args.allow_plaintext)
    enrolment = _enrolment(args, package, target)
    data = enrolment.to_json()
    Enrolment.from_json(data)  # what a device would refuse is not handed over
    out = args.out or Path(f"{enrolment.device}.enrolment.json")
    _write_new(out, data)
    about = {
        "out": str(out),
        "device": enrolment.device,
        "federation": enrolment.federation,
        "federation_digest": enrolment.federation_digest,
        "package_digest": enrolment.package_digest,
        "gateway": str(target),
        "secret": bool(enrolment.key or enrolment.password),
    }
    if args.json:
        say_json(about)
    else:
        warning = "; it holds a secret: hand it over as one" if about["secret"] else ""
        say(f"{out}: {enrolment.device} joins {enrolment.federation} at {target}{warning}")
    return 0


def _enrolment(args: argparse.Namespace, package: Package, target: Target) -> Enrolment:
    url = target.url
    plaintext = not (url.tls or is_loopback(url.host))
    try:
        return Enrolment(
            enrolment_format=ENROLMENT_FORMAT,
            device=args.device,
            federation=args.federation or recorded_setting(args.state, "federation") or "default",
            federation_digest=package.manifest.architecture.digest().hex(),
            package_digest="" if args.any_package else package.digest.hex(),
            gateway=GatewayAddress(url.host, url.port, url.tls, plaintext),
            ca=_text(args.ca),
            certificate=_text(args.certificate),
            key=_text(args.key),
            user=url.user,
            password=_text(args.password_file).removesuffix("\n") or url.password,
        )
    except EnrolmentError as error:
        raise UsageError(str(error)) from error


def _text(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text; a PEM file begins with -----BEGIN") from error


def _write_new(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, and that was not there before.

    Raises:
        UsageError: when there is one of that name.
        StorageError: when the disk refuses; nothing is left behind.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UsageError(f"{path} is there already; remove it, or choose another file with --out") from error
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; choose another folder with --out") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}; free some space") from error
