"""Backups: a consistent copy of a state directory while its gateway runs, and one put in a directory's place."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker_server.errors import StateError, StorageError
from broker_server.journal import JOURNAL
from broker_server.state.announced import Announced
from broker_server.state.copy_lock import copying
from broker_server.state.files import make_folder, sync_folder, tighten, write_durably
from broker_server.state.inspection import inspect
from broker_server.state.ledger import NAME
from broker_server.state.open_round import OpenRound
from broker_server.state.privacy_account import PrivacyAccount
from broker_server.state.rows import RoundRow
from broker_server.state.store import Store

TRIES: Final = 5


@dataclass(frozen=True)
class Restored:
    """Args: version: that a gateway goes on with; from_version: of the backup; aside: where the old state is."""

    version: int
    from_version: int
    aside: Path | None


def back_up(state: Path, destination: Path) -> int:
    """Copy a state directory, also while a gateway runs; return the newest version in the copy.

    The ledger is copied first, by SQLite, and then what it names, of which a gateway removes nothing meanwhile. One of
    an older release does: then once more.

    Raises:
        StateError: when ``destination`` is there already, or the state is damaged.
        StorageError: when the disk refuses.
    """
    if not _is_empty(destination):
        raise StateError(f"{destination} is there already; name a folder that is not")
    store = Store.open_read_only(state)
    part = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        with copying(state):
            version = _copied(store, part)
        _put(part, destination)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return version


def _copied(store: Store, part: Path) -> int:
    for _ in range(TRIES - 1):
        with contextlib.suppress(StateError):
            return _copied_once(store, part)
    return _copied_once(store, part)


def _copied_once(store: Store, part: Path) -> int:
    shutil.rmtree(part, ignore_errors=True)
    try:
        make_folder(part)
        return _copy(store, part)
    except OSError as error:
        raise StorageError(f"cannot write {part}: {error.strerror}; free some space") from error


def _copy(store: Store, part: Path) -> int:
    store.ledger.copy_to(part / NAME)
    copy = Store.open_read_only(part)
    rows = {row.version: row for row in copy.ledger.versions()}
    newest, last = rows[max(rows)], copy.ledger.last_round()
    # First what a gateway of an older release removes soonest: the deltas of a merge, after the next.
    for digest in (*(row.digest for row in copy.ledger.spooled()), *copy.ledger.mask_sums()):
        copy.spool.keep(digest, store.spool.read(digest))
    copy.residuals.write(store.residuals.load(newest))
    copy.moments.write(store.moments.load(newest))
    for version in copy.ledger.residual_rows():  # to make the newest merge again, which may also be impossible
        copy.residuals.write(store.residuals.whole(version))
        copy.moments.write(store.moments.whole(version))
    for number in [number for number in store.versions.numbers() if number in rows]:
        record = store.versions.read(number)
        if record is not None:
            copy.versions.keep(record)
        for digest in copy.lineage.blocks(rows[number]):
            copy.blobs.put(store.blobs.get(digest))
    for digest in copy.lineage.updates(newest):
        copy.blobs.put(store.blobs.get(digest))
    copy.keep_bank(newest)
    if last is not None:
        plans = copy.ledger.plans(last.round)
        OpenRound(last.round, last.base_version, last.opened, last.extensions, plans).write(part)
    Announced(newest.version, newest.digest, last.round if last else 0).write(part)
    account = PrivacyAccount.read(store.folder)
    if account is not None:
        account.write(part)
    journal = store.folder / JOURNAL
    if journal.is_file():
        write_durably(part / journal.name, journal.read_bytes())
    copy.close()
    return newest.version


def restore(backup: Path, state: Path, now: float, *, announced: int = -1, set_aside: bool = False) -> Restored:
    """Put a backup in a state directory's place, after it was checked.

    Args:
        backup: what ``back_up`` made, or a whole copy of a state directory.
        state: not there, empty, or to be set aside; no gateway may run in it.
        now: seconds since 1970.
        announced: the newest version that devices may have heard of, when ``state`` does not say.
        set_aside: move what is at ``state`` to a new name beside it.

    Raises:
        StateError: when the backup is damaged, a gateway runs, or something is in the way; nothing was changed.
        StorageError: when the disk refuses; the old state is where it was, or set aside.
    """
    findings = list(inspect(Store.open_read_only(backup)))
    if findings:
        raise StateError(f"{backup} is damaged itself: {findings[0].file}: {findings[0].detail}; choose another backup")
    if not _is_empty(state) and not set_aside:
        text = f"{state} is not empty: nothing is overwritten, but it can be set aside under a new name"
        raise StateError(text).about("set_aside")
    old, known_round = _announced(state)
    part = state.with_name(f".{state.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    back_up(backup, part)
    versions = _go_on(part, max(announced, old), known_round, now)
    _keep_spent(part, state)
    aside = None
    if not _is_empty(state):
        aside = _set_aside(state)
    elif state.exists():
        state.rmdir()
    _put(part, state)
    return Restored(*versions, aside)


def _announced(state: Path) -> tuple[int, int]:
    """Return (version, round) that the old state's HEAD says were announced; -1 and 0 when it says nothing."""
    try:
        head = Announced.read(state)
    except StateError:
        head = None
    return (head.version, head.round) if head is not None else (-1, 0)


def _go_on(part: Path, announced: int, known_round: int, now: float) -> tuple[int, int]:
    """Give the restored bank a number that was never announced; return that and its number in the backup."""
    store = Store.open_to_restore(part)
    try:
        row = store.ledger.version()
        if row is None:
            raise StateError(f"{part} holds no version")
        last = store.ledger.last_round()
        with store.ledger.transaction():
            for number in range((last.round if last else 0) + 1, known_round + 1):
                store.ledger.keep_round(RoundRow(number, row.version, now, now, None, 0))
        if announced <= row.version:
            return row.version, row.version
        return store.fall_back(announced, now).version, row.version
    finally:
        store.close()


def _keep_spent(part: Path, state: Path) -> None:
    """Let what the old state released stay released."""
    try:
        ours, theirs = PrivacyAccount.read(part), PrivacyAccount.read(state)
    except StateError:
        return
    if ours is not None and theirs is not None:
        ours.at_least(theirs).write(part)


def _set_aside(state: Path) -> Path:
    with (state / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(f"a gateway runs in {state}; stop it first") from None
        number = 1
        while (aside := state.with_name(f"{state.name}.aside-{number}")).exists():
            number += 1
        state.rename(aside)
    return aside


def _put(part: Path, destination: Path) -> None:
    """Give a finished folder its name."""
    try:
        tighten(part)
        if destination.exists():
            destination.rmdir()
        part.rename(destination)
        sync_folder(destination.parent)
    except OSError as error:
        raise StorageError(f"cannot move {part} to {destination}: {error.strerror}") from error


def _is_empty(folder: Path) -> bool:
    """Return whether there is nothing in a folder, or no folder."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
