"""Results kept by the content of what they were made from: an unchanged build makes nothing again."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

Make = Callable[[Path], None]


def key(*facts: str, files: Iterable[Path] = ()) -> str:
    """Return the key of facts and of the content of files (names within a folder count, the folder's place does not).

    Args:
        facts: versions and settings.
        files: files, and folders with all that is in them.
    """
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(fact.encode() + b"\0")
    for path in files:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                name = file.relative_to(path.parent).as_posix()
                digest.update(name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:24]


def kept(folder: Path, name: str, content: str, make: Make) -> Path:
    """Return the folder of a stage's result; ``make`` fills it when there is none of this content yet.

    Only the newest result of a stage is kept.
    """
    place = folder / f"{name}-{content}"
    if place.is_dir():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as scratch:
        work = Path(scratch) / "result"
        work.mkdir()
        make(work)
        for old in folder.glob(f"{name}-*"):
            shutil.rmtree(old)
        work.replace(place)
    return place
