"""An APK is a ZIP file with rules: native libraries stored on page borders, resources on borders of 4 bytes.

Written here and not with ``zipfile``, which cannot place a file's first byte. Timestamps are fixed and entries are in
the order given, so equal contents are equal bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from android_demo.errors import BuildError

PAGE: Final = 16384
"""Android 15 runs with pages of 16 KB, and maps libraries from inside the APK."""
WORD: Final = 4
_STORED: Final = (".so", ".arsc", ".png", ".webp")
_DAY: Final = (1 << 5) | 1  # 1 January 1980, the first that a ZIP can name
_UTF8: Final = 0x800
_ALIGNMENT_FIELD: Final = 0xD935
"""Extra field that says which border a file keeps; apksigner reads it."""
_LOCAL: Final = struct.Struct("<IHHHHHIIIHH")
_CENTRAL: Final = struct.Struct("<IHHHHHHIIIHHHHHII")
_END: Final = struct.Struct("<IHHHHIIH")


@dataclass(frozen=True)
class Entry:
    """A file of an APK. Args: name: inside; data: its bytes."""

    name: str
    data: bytes

    @property
    def border(self) -> int:
        """Bytes of which the first byte's place is a multiple; 1 for a compressed file."""
        if not self.name.endswith(_STORED):
            return 1
        return PAGE if self.name.endswith(".so") else WORD


def pack(entries: Iterable[Entry], target: Path) -> None:
    """Write an unsigned APK.

    Raises:
        BuildError: when two entries have one name.
    """
    central, offset, names = [], 0, set()
    with target.open("wb") as file:
        for entry in entries:
            if entry.name in names:
                raise BuildError(f"two files of the APK have the name {entry.name}")
            names.add(entry.name)
            local, listed, body = _parts(entry, offset)
            file.write(local + body)
            central.append(listed)
            offset += len(local) + len(body)
        listing = b"".join(central)
        count = len(central)
        file.write(listing + _END.pack(0x06054B50, 0, 0, count, count, len(listing), offset, 0))


def _parts(entry: Entry, offset: int) -> tuple[bytes, bytes, bytes]:
    """Return local header, central header and body of an entry that begins at ``offset``."""
    stored, name = entry.border > 1, entry.name.encode()
    body = entry.data if stored else _deflated(entry.data)
    extra = _padding(offset + _LOCAL.size + len(name), entry.border) if stored else b""
    method = 0 if stored else 8
    facts = (20, _UTF8, method, 0, _DAY, zlib.crc32(entry.data), len(body), len(entry.data), len(name))
    local = _LOCAL.pack(0x04034B50, *facts, len(extra)) + name + extra
    listed = _CENTRAL.pack(0x02014B50, 20, *facts, 0, 0, 0, 0, 0, offset) + name
    return local, listed, body


def _padding(start: int, border: int) -> bytes:
    """Return an extra field after which, from ``start``, a multiple of ``border`` comes."""
    empty = -(start + 6) % border
    return struct.pack("<HHH", _ALIGNMENT_FIELD, 2 + empty, border) + bytes(empty)


def _deflated(data: bytes) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeeze.compress(data) + squeeze.flush()
