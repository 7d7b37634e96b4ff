"""`python -m export.sign packages/pixel8 --key maker.pem`: sign packages, so that devices take their maker's only."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from edge_runtime.wire.errors import FederationError
from edge_runtime.wire.manifest import MANIFEST, SIGNATURE, Package
from edge_runtime.wire.signatures import SigningKey, SigningKeyError
from export.errors import ExportError

EXAMPLES = """examples:
  python -m export.sign packages/pixel8 --key maker.pem --new-key     make the key, once
  python -m export.sign packages/pixel8 packages/raspberrypi5 --key maker.pem

The public key that this prints goes into enrolments: broker_server enroll DEVICE --package-key HEX. Keep the private
one where nobody else reads it: whoever has it can make packages that your devices run.

exit codes: 0 done, 1 the work failed (one line on stderr says why), 2 bad usage"""


def sign_package(folder: Path, key: SigningKey) -> None:
    """Write manifest.sig beside manifest.json, in place of an older one, and check the package with it.

    Raises:
        PackageError: when the folder is no whole package; it is not signed then.
        ExportError: when the disk refuses; an older signature stays.
    """
    Package.open(folder)
    aside = folder / f".{SIGNATURE}.new"
    try:
        with aside.open("wb") as file:
            file.write(key.sign_manifest((folder / MANIFEST).read_bytes()))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(folder / SIGNATURE)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise ExportError(f"cannot sign {folder}: {error.strerror}") from error
    Package.open(folder, part="manifest", maker=key.public)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m export.sign",
        description="Sign device packages with Ed25519: the manifest, which names every other file by digest.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("packages", nargs="+", type=Path, metavar="DIR", help="package folders")
    parser.add_argument("--key", type=Path, required=True, metavar="PEM", help="Ed25519 key (PKCS#8, not encrypted)")
    parser.add_argument("--new-key", action="store_true", help="make the key first; a file that exists is not replaced")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        key = SigningKey.create(options.key) if options.new_key else SigningKey.read(options.key)
    except SigningKeyError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    try:
        for folder in options.packages:
            sign_package(folder, key)
    except FederationError as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"packages": [str(folder) for folder in options.packages], "package_key": key.public.hex()}))
    else:
        print(f"signed {', '.join(map(str, options.packages))}; the public key is {key.public.hex()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
