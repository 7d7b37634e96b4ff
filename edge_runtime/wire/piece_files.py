"""Pieces of bodies that are on their way, on the disk, so that a restart needs the rest alone.

One file for each sender and body: the sender's name, then chunks as they were sent, each behind its size and CRC-32
(u32, little-endian). Nothing is flushed: what is lost or damaged comes again, and the body's digest proves it at last.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import Unfinished
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.messages import MESSAGE_LIMIT, decode, encode

KEPT_S: Final = 86_400.0
"""Files that nothing was added to for so long are dropped at a start."""
_HEAD: Final = struct.Struct("<II")
_NAME_LIMIT: Final = 64


@dataclass(frozen=True)
class PieceFiles:
    """Args: folder: made when something is kept."""

    folder: Path

    def add(self, sender: str, digest: bytes, body: Unfinished, fresh: Iterable[int]) -> None:
        """Keep pieces of a body beside those that were kept before; a full disk keeps none, which costs time only.

        Args:
            sender: whose body it is; one word.
            digest: of the body.
            body: what came of it.
            fresh: indexes of the pieces to add.
        """
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(self._path(sender, digest), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "ab") as file:
                if not file.tell():
                    file.write(_record(sender.encode()))
                for index in fresh:
                    file.write(_record(encode(_chunk(digest, body, index))))

    def remove(self, sender: str, digest: bytes) -> None:
        """Forget the pieces of a body, if there are any."""
        with contextlib.suppress(OSError):
            self._path(sender, digest).unlink()

    def take(self, limit: int) -> Iterator[tuple[str, pb.Chunk]]:
        """Yield senders and their chunks, those of the newest file first; files that are old or of no use go.

        Args:
            limit: bytes of files that are read; those beyond go unread.
        """
        for path, stat in sorted(self._files(), key=lambda one: -one[1].st_mtime):
            limit -= stat.st_size
            chunks = _read(path) if limit >= 0 and time.time() - stat.st_mtime < KEPT_S else []
            if not chunks:
                with contextlib.suppress(OSError):
                    path.unlink()
            yield from chunks

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        files: list[tuple[Path, os.stat_result]] = []
        with contextlib.suppress(OSError):
            files.extend((path, path.stat()) for path in self.folder.iterdir())
        return files

    def _path(self, sender: str, digest: bytes) -> Path:
        return self.folder / sha256(sender.encode() + b"/" + digest).hex()


def _chunk(digest: bytes, body: Unfinished, index: int) -> pb.Chunk:
    return pb.Chunk(
        kind=body.kind, digest=digest, index=index, count=body.count, total=body.total,
        payload=body.pieces[index],
    )  # fmt: skip


def _record(data: bytes) -> bytes:
    return _HEAD.pack(len(data), zlib.crc32(data)) + data


def _read(path: Path) -> list[tuple[str, pb.Chunk]]:
    """Return the chunks of a file up to the first that is damaged."""
    chunks: list[tuple[str, pb.Chunk]] = []
    with contextlib.suppress(OSError, WireError, UnicodeDecodeError), path.open("rb") as file:
        records = _records(file.read())
        sender = next(records, b"").decode("ascii")
        if 0 < len(sender) <= _NAME_LIMIT:
            chunks.extend((sender, decode(pb.Chunk, data)) for data in records)  # those before a damaged one too
    return chunks


def _records(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + _HEAD.size <= len(data):
        size, check = _HEAD.unpack_from(data, at)
        record = data[at + _HEAD.size : at + _HEAD.size + size]
        if size > MESSAGE_LIMIT or len(record) < size or zlib.crc32(record) != check:
            return
        yield record
        at += _HEAD.size + size
