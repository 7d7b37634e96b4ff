"""The files of an identity folder: what each is called, and writing them so that only their owner reads them.

authority.pem, authority.key   signs the gateway's certificate and devices'; the key may be taken elsewhere
gateway.pem, gateway.key       the gateway's certificate, for TLS
signing.key                    Ed25519: what the gateway says is signed with it
certificates.jsonl             each certificate of a device that was signed: its serial number, device, last day
revoked.txt                    serial numbers of certificates that are refused, one a line
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from broker_server.errors import StorageError, UsageError
from broker_server.identity.certificates import Identity, check_pair, serial_text
from edge_runtime.wire.private_files import open_to_append, write_private

AUTHORITY: Final = "authority"
GATEWAY: Final = "gateway"
SIGNING_KEY: Final = "signing.key"
ISSUED: Final = "certificates.jsonl"
REVOKED: Final = "revoked.txt"
_SERIAL: Final = re.compile(r"[0-9A-Fa-f]{1,40}")
_HEAD: Final = (
    "# Certificates that the gateway refuses, by serial number, one a line. A running gateway reads it again.\n"
)


@dataclass(frozen=True)
class Issued:
    """A certificate of a device. Args: serial: upper-case hex; device: its CN; ends: its last day, YYYY-MM-DD."""

    serial: str
    device: str
    ends: str


def write_new(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, and that was not there before.

    Raises:
        UsageError: when there is one of that name.
        StorageError: when the disk refuses; nothing is left behind.
    """
    try:
        write_private(path, data)
    except FileExistsError as error:
        raise UsageError(f"{path} is there already, and nothing is overwritten; remove it or choose another") from error
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}; free some space or choose another folder"
        ) from error


def append(path: Path, text: str) -> None:
    """Add to the end of a file that only its owner may read, and have it on the disk.

    Raises:
        StorageError: when the disk refuses.
    """
    try:
        with open_to_append(path) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def keep_pair(folder: Path, name: str, identity: Identity) -> None:
    """Write NAME.pem and NAME.key, neither of which was there."""
    write_new(folder / f"{name}.key", identity.key.encode())
    write_new(folder / f"{name}.pem", identity.certificate.encode())


def read_pair(certificate: Path, what: str) -> Identity:
    """Read a certificate and the key beside it (NAME.pem, NAME.key).

    Raises:
        UsageError: when one cannot be read, or they do not belong together.
    """
    texts = []
    for path in (certificate, certificate.with_suffix(".key")):
        try:
            texts.append(path.read_text(encoding="ascii"))
        except OSError as error:
            raise UsageError(f"cannot read {path} of {what}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is no PEM text") from error
    identity = Identity(*texts)
    check_pair(identity, what)
    return identity


def note_issued(folder: Path, issued: Issued) -> None:
    """Remember a certificate that was signed."""
    append(folder / ISSUED, json.dumps(asdict(issued)) + "\n")


def issued_to(folder: Path, device: str) -> list[Issued]:
    """Return the certificates that were signed for a device, oldest first; half a line of a power cut is left out."""
    rows: list[Issued] = []
    try:
        lines = (folder / ISSUED).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return rows
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot read {folder / ISSUED}: {error}") from error
    for line in lines:
        try:
            row = Issued(**json.loads(line))
        except (ValueError, TypeError, RecursionError):
            continue
        if row.device == device:
            rows.append(row)
    return rows


def read_revoked(path: Path) -> frozenset[str]:
    """Return the serial numbers in a file, in upper-case hex with an even number of digits; none without a file.

    Raises:
        StorageError: for a file that cannot be read, or a line that is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot read {path}: {error}") from error
    words = [line.partition("#")[0].strip() for line in lines]
    return frozenset(serial(word, str(path)) for word in words if word)


def serial(text: str, where: str) -> str:
    """Return a serial number as certificates are compared by; colons between its bytes are left out.

    Raises:
        StorageError: when it is none.
    """
    digits = text.replace(":", "")
    if not _SERIAL.fullmatch(digits):
        raise StorageError(f"{where}: {text[:60]!r} is no serial number of a certificate, expected hexadecimal digits")
    return serial_text(int(digits, 16))


def revoke(path: Path, serials: dict[str, str]) -> None:
    """Add serial numbers to the file of those that are refused. Args: serials: what to note beside each."""
    there = read_revoked(path)
    lines = [f"{number}  # {note}\n" for number, note in serials.items() if number not in there]
    if lines:
        append(path, "".join(lines))
