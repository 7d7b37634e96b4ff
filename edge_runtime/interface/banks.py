"""Banks on disk: a file, a folder with one, or what a device received; read with their checks, written whole or not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from edge_runtime.errors import ConfigError, EdgeError
from edge_runtime.federation.versions import Versions
from edge_runtime.opened_package import Parts
from edge_runtime.store import Store
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.errors import BankError

BANK_FILE: Final = "bank.safetensors"
VERSION_FILE: Final = "version.json"


def read_bank(parts: Parts, path: Path) -> Bank:
    """Return the bank of a file, or of a folder with ``bank.safetensors``.

    Raises:
        BankError: when it is for another federation, or not the version that stands beside it.
    """
    federation = parts.manifest.architecture.digest()
    stored = Bank.read(path / BANK_FILE if path.is_dir() else path, parts.manifest.architecture.bank_shape, federation)
    if path.is_dir():
        check_version(path / VERSION_FILE, stored, federation)
    return stored


def received_bank(parts: Parts, state: Path) -> tuple[Bank, int]:
    """Return the newest bank that a device with this state directory received whole, and its version.

    Raises:
        ConfigError: when there is no such state.
        BankError: when it is of another federation.
        StateInUseError: when the device is at work there.
    """
    if not (state / "lock").exists():
        text = f"{state} is no state directory; give that of a device that took part in a federation"
        raise ConfigError(text).about("state")
    with Store(state) as store:
        return Versions(store, parts.package).latest_bank()


def check_version(path: Path, bank: Bank, federation: bytes) -> None:
    """Hold a bank against what ``broker_server export`` wrote beside it, when it did.

    Raises:
        BankError: when they differ.
    """
    if not path.exists():
        return
    try:
        told = json.loads(path.read_bytes())
        wanted = {name: str(told[name]) for name in ("digest", "federation_digest")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BankError(
            f"{path} is not what broker_server export writes ({error}); export the version again"
        ) from error
    for name, have in (("federation_digest", federation.hex()), ("digest", bank.digest().hex())):
        if wanted[name] != have:
            raise BankError(
                f"{path.parent}: {name} is {have[:12]}, {path.name} says {wanted[name][:12]}; "
                "the bank was changed or is for another package; export the version again"
            )


def write_bank(bank: Bank, folder: Path, federation: bytes) -> None:
    """Write bank.safetensors in ``folder``, for the federation of this digest, whole or not at all.

    Raises:
        EdgeError: when the disk refuses.
    """
    beside = folder / f".{BANK_FILE}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(bank.to_bytes(federation))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(folder / BANK_FILE)
    except OSError as error:
        raise EdgeError(f"cannot write {folder / BANK_FILE}: {error.strerror}") from error
