"""What a device remembers: every file is whole or not there, and never trusted without its digest.

    lock            held by the one process that works here
    enrolment       device, federation and package that this state belongs to
    blobs/HEX       blocks and updates, named by their digest: checked on every read, fetched again when damaged
    versions/HEX    Version messages as received, by version digest
    current         digest of the newest complete version
    plan, checkpoint, delta, sent, done, feedback, statistics, labels: sealed records (below)

A sealed record is a magic, the SHA-256 of the rest, the length of a JSON head, the head, a body. It is written beside,
flushed to the disk, then renamed over the old one, so that a kill or a power cut leaves the old one or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from safetensors import SafetensorError
from safetensors.numpy import load, save

from edge_runtime.errors import DamagedError, StateInUseError, StoreError
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.tensors import Array

_MAGIC: Final = b"edgest01"
_HEAD: Final = struct.Struct("<8s32sI")


@dataclass(frozen=True)
class Record:
    """A sealed record: a small JSON head and a body of bytes."""

    head: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""

    def tensors(self) -> dict[str, Array]:
        """Return the body as named arrays.

        Raises:
            DamagedError: when it holds none.
        """
        try:
            return load(self.body) if self.body else {}
        except (SafetensorError, ValueError, KeyError) as error:
            raise DamagedError(f"a record holds no tensors ({error})") from error


def pack(tensors: Mapping[str, Array]) -> bytes:
    """Return named arrays as a record's body."""
    return save(dict(tensors)) if tensors else b""


class Store:
    """A state directory, locked from opening to closing.

    Args:
        folder: made when it is not there.

    Raises:
        StateInUseError: when another process works in it.
        StoreError: when it cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        try:
            for part in ("", "blobs", "versions"):
                (folder / part).mkdir(parents=True, exist_ok=True)
                (folder / part).chmod(0o700)  # deltas and statistics say something of a person's texts
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            text = f"cannot use the state directory {folder}: {error.strerror}; choose another"
            raise StoreError(text).about("state") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise StoreError(f"cannot lock the state directory {folder}: {error.strerror}") from error
            raise StateInUseError(
                f"process {holder} already works in the state directory {folder}; stop it or choose another"
            ).about("state") from error
        with contextlib.suppress(OSError):  # who holds it is for people only
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        self._sweep()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the directory back; closing twice does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _sweep(self) -> None:
        for part in (self.folder, self.folder / "blobs", self.folder / "versions"):
            for left in part.glob(".*.new"):
                _discard(left)

    # --- sealed records --------------------------------------------------------------------------------------

    def write(self, name: str, record: Record) -> None:
        """Replace the record ``name``.

        Raises:
            StoreError: when the disk refuses.
        """
        head = json.dumps(record.head, sort_keys=True).encode()
        sealed = struct.pack("<I", len(head)) + head + record.body
        self._replace(self.folder / name, _MAGIC + sha256(sealed) + sealed)

    def read(self, name: str) -> Record | None:
        """Return the record ``name``; None when there is none.

        Raises:
            DamagedError: when it is not what was written.
        """
        try:
            data = (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self.folder / name}: {error.strerror}") from error
        if len(data) < _HEAD.size or data[:8] != _MAGIC or sha256(data[40:]) != data[8:40]:
            raise DamagedError(f"{self.folder / name} is damaged")
        size = _HEAD.unpack_from(data)[2]
        try:
            head = json.loads(data[_HEAD.size : _HEAD.size + size])
        except (ValueError, RecursionError) as error:
            raise DamagedError(f"{self.folder / name} is damaged: its head is not JSON") from error
        if not isinstance(head, dict):
            raise DamagedError(f"{self.folder / name} is damaged: its head is no object")
        return Record(head, data[_HEAD.size + size :])

    def recall(self, name: str) -> Record | None:
        """Return the record ``name``; a damaged one is removed and counts as none: its owner makes it anew."""
        try:
            return self.read(name)
        except DamagedError:
            self.remove(name)
            return None

    def rename(self, name: str, new: str) -> None:
        """Give the record ``name`` another name, in place of the one that had it.

        Raises:
            StoreError: when the disk refuses.
        """
        try:
            (self.folder / name).replace(self.folder / new)
            _flush_folder(self.folder)
        except OSError as error:
            raise StoreError(f"cannot rename {self.folder / name}: {error.strerror}; free some space") from error

    def remove(self, name: str) -> None:
        """Remove a record, if there is one.

        Raises:
            StoreError: when the disk refuses.
        """
        try:
            (self.folder / name).unlink(missing_ok=True)
            _flush_folder(self.folder)
        except OSError as error:
            raise StoreError(f"cannot remove {self.folder / name}: {error.strerror}; check the disk") from error

    # --- blobs and versions ----------------------------------------------------------------------------------

    def put_blob(self, digest: bytes, data: bytes) -> None:
        """Keep a block's bytes.

        Raises:
            DamagedError: when they do not have the digest.
        """
        if sha256(data) != digest:
            raise DamagedError(f"{len(data)} bytes do not have the digest {digest.hex()[:12]}")
        # Its name proves it on every read and it can be fetched again, so it need not wait for the disk: flushing
        # the blocks of a version one by one would cost a slow flash seconds.
        self._replace(self.folder / "blobs" / digest.hex(), data, flush=False)

    def blob(self, digest: bytes) -> bytes | None:
        """Return a block's bytes; None when they are not here (damaged ones are removed)."""
        path = self.folder / "blobs" / digest.hex()
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if sha256(data) == digest:
            return data
        _discard(path)
        return None

    def has_blob(self, digest: bytes) -> bool:
        """Return whether there is a file of that name; reading it proves it."""
        return (self.folder / "blobs" / digest.hex()).exists()

    def put_version(self, digest: bytes, message: bytes) -> None:
        """Keep a Version message as received."""
        self._replace(self.folder / "versions" / digest.hex(), sha256(message) + message)

    def version(self, digest: bytes) -> bytes | None:
        """Return a Version message; None when it is not here (a damaged one is removed)."""
        path = self.folder / "versions" / digest.hex()
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if sha256(data[32:]) == data[:32]:
            return data[32:]
        _discard(path)
        return None

    def keep_only(self, versions: Iterable[bytes], blobs: Iterable[bytes]) -> None:
        """Remove every version and blob that is not listed."""
        for part, wanted in (("versions", versions), ("blobs", blobs)):
            names = {digest.hex() for digest in wanted}
            for path in (self.folder / part).iterdir():
                if path.name not in names:
                    _discard(path)

    def _replace(self, path: Path, data: bytes, *, flush: bool = True) -> None:
        beside = path.with_name(f".{path.name}.new")
        try:
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(handle, "wb") as file:  # noqa: PTH123 - a handle, not a path
                os.fchmod(handle, 0o600)
                file.write(data)
                if flush:
                    file.flush()
                    os.fsync(file.fileno())
            beside.replace(path)
            if flush:
                _flush_folder(path.parent)
        except OSError as error:
            _discard(beside)
            raise StoreError(f"cannot write {path}: {error.strerror}; free some space") from error


def _discard(path: Path) -> None:
    """Remove a file that nobody needs; on a disk that refuses it stays."""
    with contextlib.suppress(OSError):
        path.unlink()


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
