"""The lock of a state directory: one gateway at a time. The kernel lets go of it when its process ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import IO, Final

from broker_server.errors import StateError
from broker_server.state.files import PRIVATE_FILE

LOCK_WAIT_S: Final = 0.5
"""How long a start waits for the lock: whoever looks whether a gateway runs (``status``) holds it for a moment."""


def lock_folder(folder: Path) -> IO[str]:
    """Take a state directory for this process; return the open file that holds the lock.

    Raises:
        StateError: when another process holds it.
        OSError: when the file cannot be opened.
    """
    lock = open(os.open(folder / "lock", os.O_RDWR | os.O_CREAT, PRIVATE_FILE), "r+")  # noqa: PTH123, SIM115
    try:
        _take(lock, time.monotonic() + LOCK_WAIT_S)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        msg = (
            f"state directory {folder} is in use by another gateway (process {holder}); "
            "stop it, or choose another directory"
        )
        raise StateError(msg).about("state") from None
    with contextlib.suppress(OSError):  # who holds it is for people only
        # Past Python's buffer, which would try again when the file is closed.
        os.ftruncate(lock.fileno(), 0)
        os.pwrite(lock.fileno(), str(os.getpid()).encode(), 0)
    return lock


def _take(lock: IO[str], until: float) -> None:
    """Take a lock, or raise BlockingIOError. Args: until: monotonic seconds; so long it is tried again."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(LOCK_WAIT_S / 25)
        else:
            return
