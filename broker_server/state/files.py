"""Files that are there whole or not at all, also after a power cut: write aside, fsync, rename, fsync the folder.

What a gateway keeps is for its own user only (folders 0700, files 0600, whatever the umask). A *sealed* file is one
JSON object that carries the SHA-256 of the rest of it, so that a flipped bit is noticed.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from broker_server.errors import StateError, StorageError
from edge_runtime.wire.digests import sha256

PRIVATE_FOLDER: Final = 0o700
PRIVATE_FILE: Final = 0o600
_SEAL: Final = "sha256"
Value = TypeVar("Value")


def write_durably(path: Path, *data: bytes, private: bool = True, flush: bool = True) -> None:
    """Write ``path`` so that it holds ``data`` or what it held before, whatever happens.

    Args:
        path: of the file; its folder is made when it is not there.
        data: what it holds then, in parts that follow each other.
        private: for the gateway's own user only; else as the umask says.
        flush: wait for the disk; what a power cut may take, since it can be made again, need not.

    Raises:
        StorageError: when the disk refuses; nothing is left behind.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        make_folder(path.parent, private=private)
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE if private else 0o666)
        with open(handle, "wb") as file:  # noqa: PTH123 - a handle, not a path
            if private:
                os.fchmod(handle, PRIVATE_FILE)
            file.writelines(data)
            file.flush()
            if flush:
                os.fsync(handle)
        aside.replace(path)
        if flush:
            sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        msg = f"cannot write {path}: {error.strerror}; free some space or check the permissions"
        raise StorageError(msg) from error


def make_folder(folder: Path, *, private: bool = True) -> None:
    """Make a folder and those above it, each on the disk before the next.

    Raises:
        OSError: when that cannot be.
    """
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent, private=private)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(PRIVATE_FOLDER if private else 0o777)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk.

    Raises:
        OSError: when the disk refuses.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def tighten(folder: Path) -> list[str]:
    """Take others' rights to a folder and everything in it away; return the names of what was looser than it may be.

    Symbolic links are left alone. What belongs to somebody else is passed over: its owner decides.
    """
    loose = []
    for path in (folder, *sorted(folder.rglob("*"))):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if not path.is_symlink() and status.st_mode & 0o077:
                path.chmod(PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE)
                loose.append(path.relative_to(folder).as_posix())
    return loose


def seal(tree: dict[str, Any]) -> bytes:
    """Return an object as the bytes of a sealed file."""
    text = json.dumps({**tree, _SEAL: sha256(_canonical(tree)).hex()}, sort_keys=True)
    return (text + "\n").encode()


def unseal(data: bytes, path: Path) -> dict[str, Any]:
    """Return what a sealed file says. Args: path: of the file, for the error.

    Raises:
        StateError: when it is not what was written.
    """
    try:
        tree = json.loads(data)
        digest = tree.pop(_SEAL)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        msg = f"{path} is damaged: it is no sealed JSON object"
        raise StateError(msg) from error
    if digest != sha256(_canonical(tree)).hex():
        msg = f"{path} is damaged: its contents have another digest than it says"
        raise StateError(msg)
    return dict(tree)


def read_sealed(path: Path, value_of: Callable[[dict[str, Any]], Value]) -> Value | None:
    """Return what a sealed file stands for; None when there is none.

    Args:
        path: of the file.
        value_of: makes it of what the file says.

    Raises:
        StateError: when it cannot be read, is damaged, or says something else.
    """
    try:
        return value_of(unseal(path.read_bytes(), path))
    except FileNotFoundError:
        return None
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise StateError(msg) from error


def _canonical(tree: dict[str, Any]) -> bytes:
    return json.dumps(tree, sort_keys=True).encode()
