"""Files that only their owner may read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 that was not there before, and have it on the disk.

    Raises:
        FileExistsError: when it was there; it is as it was.
        OSError: when the disk refuses; nothing is left behind.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def open_to_append(path: Path) -> TextIO:
    """Open a UTF-8 file to write at its end; a new one gets mode 0600.

    Raises:
        OSError: when that cannot be.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(handle, "a", encoding="utf-8")
