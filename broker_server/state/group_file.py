"""Bodies that were accepted together, in one file of the spool.

Layout, little-endian: ``deltas1`` and a line feed; n as uint32; for each body its digest (32 bytes) and its size as
uint64; SHA-256 of all that (32 bytes); then the n bodies, one after the other.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from edge_runtime.wire.digests import DIGEST_BYTES, sha256

GROUP: Final = ".group"
_BEGIN: Final = b"deltas1\n"
_COUNT: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct(f"<{DIGEST_BYTES}sQ")
_LIMIT: Final = 65_536
"""Bodies that a header may speak of; more is damage."""


@dataclass(frozen=True)
class Place:
    """Where a body stands. Args: name: of the file; offset, size: in it; size None: to its end."""

    name: str
    offset: int = 0
    size: int | None = None

    def read(self, folder: Path) -> bytes:
        """Return the bytes there, fewer where the file ends before.

        Raises:
            OSError: when the file cannot be read.
        """
        with (folder / self.name).open("rb") as file:
            file.seek(self.offset)
            return file.read() if self.size is None else file.read(self.size)


def group_name(digests: Iterable[bytes]) -> str:
    """Return the name of the file for these bodies."""
    return f"{sha256(b''.join(digests)).hex()}{GROUP}"


def group_header(bodies: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return what stands before the bodies. Args: bodies: (digest, body)."""
    entries = b"".join(_ENTRY.pack(digest, len(body)) for digest, body in bodies)
    header = _BEGIN + _COUNT.pack(len(bodies)) + entries
    return header + sha256(header)


def read_header(name: str, file: BinaryIO | bytes) -> dict[bytes, Place]:
    """Return where each body of a group stands, by digest.

    Args:
        name: of the file.
        file: the file, or its first bytes.

    Raises:
        ValueError: when the header is damaged or cut off.
    """
    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    begin = stream.read(len(_BEGIN) + _COUNT.size)
    if len(begin) < len(_BEGIN) + _COUNT.size or not begin.startswith(_BEGIN):
        raise ValueError(f"{name} does not begin as a group of deltas")
    count = _COUNT.unpack_from(begin, len(_BEGIN))[0]
    entries = stream.read(min(count, _LIMIT) * _ENTRY.size)
    if stream.read(DIGEST_BYTES) != sha256(begin + entries):
        raise ValueError(f"{name} has a damaged header")
    offset = len(begin) + len(entries) + DIGEST_BYTES
    places = {}
    for digest, size in _ENTRY.iter_unpack(entries):
        places[digest] = Place(name, offset, size)
        offset += size
    return places
