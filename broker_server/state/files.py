"""Files that are there whole or not at all, also after a power cut: write aside, fsync, rename, fsync the folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from broker_server.errors import StorageError


def write_durably(path: Path, data: bytes) -> None:
    """Write ``path`` so that it holds ``data`` or what it held before, whatever happens.

    Raises:
        StorageError: when the disk refuses; nothing is left behind.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        msg = f"cannot write {path}: {error.strerror}; free some space or check the permissions"
        raise StorageError(msg) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
