"""The ledger as a start opens it: checked, on a full disk in reserved room, and anew when the loss is accepted."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from broker_server.errors import DamagedError, StateError, StorageError
from broker_server.state.database import ADVICE
from broker_server.state.files import write_durably
from broker_server.state.ledger import NAME, Ledger

RESERVE: Final = 256 * 1024
"""Bytes: of the ledger's shared memory (32 KiB) and a log of some pages, with room to spare."""


def open_ledger(folder: Path, notes: list[str], *, accept_loss: bool) -> Ledger:
    """Open the ledger; a damaged one is set aside when the operator accepts the loss.

    Args:
        folder: of the state.
        notes: gets what was set aside, for people.
        accept_loss: whether the operator accepts it.

    Raises:
        StateError: when it cannot be opened; DamagedError when it is damaged and the loss is not accepted.
        StorageError: when the disk is full.
    """
    path = folder / NAME
    try:
        return _with_room(folder)
    except DamagedError:
        if not accept_loss:
            raise
    aside = folder / f"{NAME}.damaged-{sum(1 for _ in folder.glob(NAME + '.damaged-*')) + 1}"
    path.replace(aside)
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    notes.append(
        f"the damaged ledger is set aside as {aside.name}: devices, statistics, plans and what was revoked are lost; "
        "revoke again whom you had revoked"
    )
    return Ledger(path)


def _with_room(folder: Path) -> Ledger:
    """Open the ledger, on a full disk in the room that was reserved for that.

    Raises:
        StateError, StorageError: when it cannot be opened.
    """
    reserve = folder / "reserve"
    try:
        ledger = _sound_ledger(folder / NAME)
    except StateError as error:
        if isinstance(error, DamagedError) or not _is_full(folder):
            raise
        reserve.unlink(missing_ok=True)
        try:
            return _sound_ledger(folder / NAME)
        except StateError as again:
            msg = f"the disk of {folder} is full: not even the ledger can be opened; free some space"
            raise StorageError(msg) from again
    if not reserve.exists():
        with contextlib.suppress(StorageError):
            write_durably(reserve, bytes(RESERVE))
    return ledger


def _is_full(folder: Path) -> bool:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize < RESERVE


def _sound_ledger(path: Path) -> Ledger:
    ledger = Ledger(path)
    faults = ledger.faults()
    if faults:
        ledger.close()
        msg = f"{path} is damaged: {'; '.join(faults)[:200]}; {ADVICE}, accepting the loss makes it anew"
        raise DamagedError(msg).about("accept_loss")
    return ledger
