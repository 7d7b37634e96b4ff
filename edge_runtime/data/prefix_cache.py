"""Prefixes of examples on disk, of bounded size: what the frozen layers make of a text is the same in every epoch.

    FOLDER/KEY            an entry: magic, SHA-256 of the rest, the rest
    FOLDER/GENERATION-KEY one that also depends on something that changes, as experts below a prefix do with a version
    FOLDER/.NAME.PID.new  an entry that is being written; renamed when it is whole

Nothing here must last: an entry that is missing, cut off or changed is computed again, and the folder may be deleted at
any time. No index is kept in memory, so the device's memory does not grow with its data. Several processes may share a
folder. No text is stored; what is stored was computed from it, so the folder is as private as the examples.

The size counts what the entries take on the disk. When an entry would not fit, those that nobody used since this
process began go first, the longest unused first. Where all were used, what is not there yet is not kept: with the least
recently used going first, an epoch over more examples than fit would not find one of them. Entries of a generation that
is over are of use to nobody, and are removed when the next begins.
"""

from __future__ import annotations

import errno
import heapq
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_runtime.wire.digests import sha256

DEFAULT_MB: Final = 256
_MAGIC: Final = b"edgepf01"
_HEAD: Final = len(_MAGIC) + 32
_BLOCK: Final = 4096
_LARGEST: Final = 64 * 2**20
"""Bytes of a file that is read as an entry."""
_ROOM: Final = 1024
"""Entries that are looked at for removal at a time: what bounds the memory that this takes."""
_ABANDONED_S: Final = 3600
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class CacheUse:
    """What a cache did since it was opened.

    Args:
        hits: prefixes that were found.
        misses: prefixes that had to be computed.
        damaged: entries found cut off or changed; they count as misses.
        bytes: that all entries take on the disk; an estimate while other processes write.
        limit_bytes: 0 when the cache is off.
    """

    hits: int = 0
    misses: int = 0
    damaged: int = 0
    bytes: int = 0
    limit_bytes: int = 0


def _name(key: bytes, generation: str) -> str:
    return f"{generation}-{key.hex()}" if generation else key.hex()


class PrefixCache:
    """A folder of entries by 32-byte key; never raises.

    Args:
        folder: made when it is not there, for its owner alone.
        limit_mb: 10^6 bytes; 0 keeps and finds nothing.
        say: told once in a sentence when the disk does not do its part; work goes on without it.
    """

    def __init__(self, folder: Path, limit_mb: float, say: Callable[[str], None]) -> None:
        self._folder, self._limit, self._say = folder, int(limit_mb * 1e6), say
        self._began = time.time()
        self._hits = self._misses = self._damaged = 0
        self._used = self._unseen = self._wait = 0
        self._reads = self._writes = self._limit > 0
        if self._writes:
            self._attempt(self._prepare)

    @property
    def use(self) -> CacheUse:
        """What was found and kept so far."""
        return CacheUse(self._hits, self._misses, self._damaged, self._used, self._limit)

    def get(self, key: bytes, generation: str = "") -> bytes | None:
        """Return the bytes of an entry; None when there is none, or a damaged one, which is removed."""
        body = self._read(f"{self._folder}/{_name(key, generation)}") if self._reads else None
        if body is None:
            self._misses += 1
        else:
            self._hits += 1
        return body

    def put(self, key: bytes, body: bytes, generation: str = "") -> None:
        """Keep an entry, if there is room. Args: generation: letters and digits; empty: it is good for ever."""
        data = _MAGIC + sha256(body) + body
        need = -(-len(data) // _BLOCK) * _BLOCK
        if self._writes and self._fits(need):
            self._attempt(lambda: self._write(self._folder / _name(key, generation), data))
            self._used += need
            self._unseen += need

    def drop_generations(self, family: str, kept: Collection[str]) -> None:
        """Remove the entries of all generations whose names begin with ``family``, but for those to be kept."""
        if self._writes:
            self._attempt(lambda: self._drop(family, kept))

    def _drop(self, family: str, kept: Collection[str]) -> None:
        for path, *_ in self._entries():
            generation, parted, _ = Path(path).name.partition("-")
            if parted and generation.startswith(family) and generation not in kept:
                Path(path).unlink(missing_ok=True)
        self._wait = 0
        self._survey()

    # --- files ------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        self._survey()

    def _attempt(self, act: Callable[[], None]) -> None:
        """Do what the disk may refuse; then nothing more is written."""
        try:
            act()
        except OSError as error:
            self._writes = False
            reason = "the disk is full" if error.errno in _FULL else error.strerror or str(error)
            self._say(f"the prefix cache {self._folder} cannot be written to ({reason}); going on, keeping nothing new")

    def _read(self, path: str) -> bytes | None:
        try:
            data = self._bytes_of(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._reads = False
            self._say(f"the prefix cache {self._folder} cannot be read ({error.strerror}); going on without it")
            return None
        if data.startswith(_MAGIC) and sha256(data[_HEAD:]) == data[len(_MAGIC) : _HEAD]:
            return data[_HEAD:]
        self._damaged += 1
        with suppress(OSError):
            Path(path).unlink(missing_ok=True)
        return None

    def _bytes_of(self, path: str) -> bytes:
        """Read an entry without a file object, which takes as long as the reading; a link is no entry."""
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            status = os.fstat(handle)
            if status.st_mtime < self._began:
                os.utime(handle)  # it was used since this process began
            return os.read(handle, status.st_size) if status.st_size <= _LARGEST else b""
        finally:
            os.close(handle)

    def _write(self, path: Path, data: bytes) -> None:
        beside = path.with_name(f".{path.name}.{os.getpid()}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        try:
            try:
                handle = os.open(beside, flags, 0o600)
            except FileNotFoundError:  # the folder was deleted
                self._prepare()
                handle = os.open(beside, flags, 0o600)
            with open(handle, "wb") as file:  # noqa: PTH123 - opened above, for its owner alone
                file.write(data)
            beside.replace(path)
        except OSError:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise

    # --- room -------------------------------------------------------------------------------------------------

    def _fits(self, need: int) -> bool:
        """Return whether an entry may be written, after others went where that makes room for it."""
        if self._unseen > self._limit // 16:
            self._attempt(self._survey)  # other processes write, too
        if self._used + need <= self._limit:
            return self._writes
        if self._wait > 0:
            self._wait -= 1
            return False
        self._attempt(lambda: self._make_room(need))
        if self._used + need > self._limit:
            self._wait = _ROOM
        return self._writes and self._used + need <= self._limit

    def _make_room(self, need: int) -> None:
        self._survey()
        unused = ((used_at, path, size) for path, size, used_at in self._entries() if used_at < self._began)
        for _, path, size in heapq.nsmallest(_ROOM, unused):
            if self._used + need <= self._limit - self._limit // 16:
                break
            Path(path).unlink(missing_ok=True)
            self._used -= size

    def _survey(self) -> None:
        self._used, self._unseen = sum(size for _, size, _ in self._entries()), 0

    def _entries(self) -> Iterator[tuple[str, int, float]]:
        """Yield path, bytes on the disk and time of last use; files that a killed process left are removed."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process removed it
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(".new"):
                        if status.st_mtime < time.time() - _ABANDONED_S:
                            Path(entry.path).unlink(missing_ok=True)
                        continue
                    yield entry.path, status.st_blocks * 512, status.st_mtime
