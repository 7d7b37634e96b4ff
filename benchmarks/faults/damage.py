"""Damage at rest: one file of a folder, chosen by chance, is no longer what was written."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Final


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    place = chance.randrange(len(changed))
    changed[place] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _truncate(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _garbage(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + chance.randbytes(min(4096, len(data) - place)) + data[place + 4096 :]


DAMAGES: Final[dict[str, Callable[[bytes, random.Random], bytes] | None]] = {
    "flipped bit": _flip,
    "truncated file": _truncate,
    "4 KB of garbage": _garbage,
    "missing file": None,
}


def damage(folder: Path, kind: str, chance: random.Random) -> str:
    """Damage a file in ``folder``; each kind of file is as likely as another. Return its name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    kinds = sorted({_kind(path, folder) for path in files})
    chosen = chance.choice(kinds)
    path = chance.choice([one for one in files if _kind(one, folder) == chosen])
    change = DAMAGES[kind]
    if change is None:
        path.unlink()
    else:
        status = path.stat()
        path.write_bytes(change(path.read_bytes(), chance))
        path.chmod(status.st_mode)
    return path.relative_to(folder).as_posix()


def _kind(path: Path, folder: Path) -> str:
    parts = path.relative_to(folder).parts
    return path.suffix or parts[0] if len(parts) > 1 else parts[0]
