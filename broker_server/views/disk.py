"""How much a state directory takes of its disk."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Disk:
    """Args: used: bytes of the files below the directory, blocks counted whole; free: bytes that its user may write."""

    used: int
    free: int

    def plain(self) -> dict[str, int]:
        """Return it for JSON."""
        return asdict(self)


def disk(folder: Path) -> Disk:
    """Look at every file below a directory; what goes meanwhile is passed over."""
    status = os.statvfs(folder)
    return Disk(_used(folder), status.f_bavail * status.f_frsize)


def _used(folder: Path) -> int:
    total = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                whole = entry.is_dir(follow_symlinks=False)
                total += _used(Path(entry.path)) if whole else 512 * entry.stat(follow_symlinks=False).st_blocks
    return total
