"""What is wrong in a state directory: read only, also while a gateway runs, also of a copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from broker_server.errors import StateError
from broker_server.state.announced import Announced
from broker_server.state.blobs import Blobs
from broker_server.state.moments import notes_of
from broker_server.state.open_round import NAME as ROUND
from broker_server.state.open_round import OpenRound
from broker_server.state.privacy_account import PrivacyAccount
from broker_server.state.residuals import digests_of
from broker_server.state.rows import VersionRow
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import version_digest
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.messages import block_digests, decode


@dataclass(frozen=True)
class Finding:
    """Something that is wrong. Args: file: below the state directory; detail: what; repair: what becomes of it."""

    file: str
    detail: str
    repair: str


AT_START = "the next start repairs it"
ASKED = "its device is asked to send it again"
RESTORE = "broker_server restore puts a backup in its place"


def inspect(store: Store) -> Iterator[Finding]:
    """Yield what is wrong: the database, HEAD and ROUND, each kept version with its blocks, each delta in the spool.

    Raises:
        StateError: when the ledger cannot be read at all.
    """
    for fault in store.ledger.faults():
        yield Finding("ledger.sqlite3", " ".join(fault.split()), RESTORE)
    yield from _head(store)
    if (store.folder / ROUND).exists() and OpenRound.read(store.folder) is None:
        yield Finding(ROUND, "it is damaged", "the next round writes it again")
    rows = {row.version: row for row in store.ledger.versions()}
    for number in sorted({*store.versions.numbers(), *([max(rows)] if rows else [])}):
        if number in rows:
            yield from _version(store, rows[number])
    if rows:
        yield from _beside(store, rows[max(rows)])
    yield from _privacy(store)
    yield from _spool(store)


def _head(store: Store) -> Iterator[Finding]:
    newest = store.ledger.version()
    known = newest.version if newest else -1
    try:
        head = Announced.read(store.folder)
    except StateError as error:
        yield Finding("HEAD", str(error), AT_START)
        return
    if head is None:
        yield Finding("HEAD", "it is missing", AT_START)
        return
    lacking = [number for number in range(known + 1, head.version + 1) if not _whole_file(store, number)]
    if lacking:
        detail = f"version {head.version} was announced, the ledger knows {known}, and no file has {lacking[0]}"
        yield Finding("ledger.sqlite3", detail, f"{RESTORE}, or broker_server run --accept-loss goes on without it")
    elif newest is not None and head.version == known and head.digest != newest.digest:
        detail = f"its version {known} is not the one that was announced"
        yield Finding("ledger.sqlite3", detail, f"{RESTORE}, or broker_server run --accept-loss goes on")


def _whole_file(store: Store, number: int) -> bool:
    try:
        return store.versions.read(number) is not None
    except StateError:
        return False


def _version(store: Store, row: VersionRow) -> Iterator[Finding]:
    file = f"versions/{row.version:08d}"
    try:
        record = store.versions.read(row.version)
        if record is None:
            yield Finding(file, "it is missing", AT_START)
        elif record.row != row:
            yield Finding("ledger.sqlite3", f"the row of version {row.version} is not what {file} says", AT_START)
    except StateError as error:
        yield Finding(file, str(error), AT_START)
    try:
        digests = block_digests(decode(pb.Version, row.payload))
    except WireError as error:
        yield Finding("ledger.sqlite3", f"the message of version {row.version} cannot be read: {error}", AT_START)
        return
    if version_digest(digests) != row.digest:
        yield Finding("ledger.sqlite3", f"the blocks of version {row.version} do not have its digest", AT_START)
    for digest in dict.fromkeys(digests.values()):
        yield from _blob(store.blobs, digest, f"a block of version {row.version}")


def _privacy(store: Store) -> Iterator[Finding]:
    """Yield what is wrong with the account of what was released."""
    try:
        PrivacyAccount.read(store.folder)
    except StateError as error:
        yield Finding("PRIVACY", str(error), "a start counts anew from what the newest version notes")


def _beside(store: Store, row: VersionRow) -> Iterator[Finding]:
    """Yield what is wrong beside the blocks of the newest version; what older ones have there nobody needs."""
    try:
        updates, residuals, moments = store.lineage.updates(row), digests_of(row), notes_of(row).moments
    except (WireError, StateError):
        return  # told above, or the row is not what its file says
    for digest in updates:
        yield from _blob(store.blobs, digest, f"an update that version {row.version} lists")
    for digest in residuals.values():
        yield from _blob(store.residuals.blobs, digest, f"a residual of version {row.version}")
    for digest in moments.values():
        yield from _blob(store.moments.blobs, digest, f"a moment of version {row.version}")


def _blob(blobs: Blobs, digest: bytes, name: str) -> Iterator[Finding]:
    if blobs.read(digest) is None:
        file = f"{blobs.folder.name}/{digest.hex()[:2]}/{digest.hex()[2:]}"
        what = "is changed" if blobs.has(digest) else "is missing"
        yield Finding(file, f"{name} {what}", "a start makes it again where it can")


def _spool(store: Store) -> Iterator[Finding]:
    for row in store.ledger.spooled():
        try:
            store.spool.read(row.digest)
        except StateError as error:
            repair = ASKED if row.version is None else "it is part of a version already"
            detail = f"the delta of {row.device} in round {row.round}: {error}"
            yield Finding(f"spool/{store.spool.where(row.digest)}", detail, repair)
