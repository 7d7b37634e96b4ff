"""The manifest that the ledger keeps: it says which federation a state directory is of, for good."""

from __future__ import annotations

from pathlib import Path

from broker_server.errors import DamagedError, StateError
from broker_server.state.database import ADVICE
from broker_server.state.ledger import Ledger
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import PackageError, WireError
from edge_runtime.wire.manifest import Architecture, Manifest, Package
from edge_runtime.wire.messages import decode
from edge_runtime.wire.strict_json import plain_tree


def kept_manifest(ledger: Ledger, folder: Path) -> Manifest:
    """Return the manifest of the package that a state directory was started with first.

    Raises:
        StateError: when there is none.
        DamagedError: when it cannot be read.
    """
    manifest = ledger.get("manifest")
    if manifest is None:
        msg = f"{folder} holds no federation yet: start a gateway with broker_server run"
        raise StateError(msg)
    try:
        return Manifest.from_json(manifest.encode(), str(ledger.path))
    except PackageError as error:
        msg = f"{ledger.path} is damaged: its manifest cannot be read; a start of the gateway writes it again"
        raise DamagedError(msg) from error


def check_federation(ledger: Ledger, folder: Path, package: Package, notes: list[str]) -> None:
    """Refuse a package of another federation; write a damaged manifest again. Args: notes: get that, for people.

    Raises:
        StateError: when the package is of another federation.
        DamagedError: when the ledger does not say which federation it is of.
        StorageError: when the disk refuses.
    """
    before = ledger.get("manifest")
    if before is None:
        return
    new = package.manifest.architecture
    try:
        old = Manifest.from_json(before.encode(), str(ledger.path)).architecture
    except PackageError:
        old = _written_again(ledger, package, notes)
    if old.digest() != new.digest():
        msg = (
            f"package {package.folder} is of another federation than state directory {folder}: "
            f"{'; '.join(_differences(old, new))}; use that package, or another state directory"
        )
        raise StateError(msg).about("package", "state")


def _written_again(ledger: Ledger, package: Package, notes: list[str]) -> Architecture:
    """Put the package's manifest in place of a damaged one, when the versions are of its federation."""
    row, architecture = ledger.version(), package.manifest.architecture
    try:
        if row is None or decode(pb.Version, row.payload).federation_digest != architecture.digest():
            raise DamagedError(f"{ledger.path} is damaged: its manifest cannot be read; {ADVICE}")
    except WireError as error:
        raise DamagedError(f"{ledger.path} is damaged: neither manifest nor version can be read; {ADVICE}") from error
    with ledger.transaction():
        ledger.put("manifest", package.manifest.to_json().decode())
    notes.append("damaged in the ledger and written again: the manifest")
    return architecture


def _differences(old: Architecture, new: Architecture) -> list[str]:
    """Return what differs between two federations, for people."""
    was, now = plain_tree(old), plain_tree(new)
    changes = [f"{key} {_short(was[key])} became {_short(now[key])}" for key in was if was[key] != now[key]]
    return changes or ["nothing that is named differs"]


def _short(value: object) -> str:
    if isinstance(value, dict):
        return f"{value.get('name')} ({str(value.get('digest'))[:12]})"
    if isinstance(value, list) and len(value) > 6:
        return f"[{len(value)} entries]"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
