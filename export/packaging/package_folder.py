"""Write a device package: whole or not at all, then opened again as a device would."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edge_runtime.wire.digests import file_sha256
from edge_runtime.wire.manifest import MANIFEST, FileEntry, Manifest, Package
from export.errors import ExportError


def entries(folder: Path) -> dict[str, FileEntry]:
    """Return digest and size of every file under a folder but the manifest, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: FileEntry(file_sha256(path), path.stat().st_size) for name, path in names.items() if name != MANIFEST}


def check_target(out: Path) -> None:
    """Refuse to replace what is not a package.

    Raises:
        ExportError: naming the folder.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ExportError(f"{out} exists and is no folder; give another path").about("out")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        text = f"{out} is a folder with other things in it; give a new folder or an old package's"
        raise ExportError(text).about("out")


def staging(out: Path) -> Path:
    """Make the hidden folder beside ``out`` in which a package is put together.

    Raises:
        ExportError: when it cannot be made.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{out.name}.new-", dir=out.parent))
    except OSError as error:
        raise ExportError(f"cannot write a package at {out}: {error.strerror}").about("out") from error


def place(source: Path, target: Path) -> None:
    """Copy a file, as a link to the same bytes where the file system can."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def commit(folder: Path, manifest: Manifest, out: Path) -> Package:
    """Write the manifest into the staged folder, make it durable, and put it in the place of ``out``.

    Raises:
        PackageError: when the result does not open.
        ExportError: when it cannot be moved.
    """
    (folder / MANIFEST).write_bytes(manifest.to_json())
    folder.chmod(0o755)
    for path in sorted(folder.rglob("*")):
        _sync(path)
    _sync(folder)
    Package.open(folder)
    old = folder.with_name(folder.name + ".old")
    try:
        if out.exists():
            out.rename(old)
        folder.rename(out)
        _sync(out.parent)
    except OSError as error:
        if old.exists() and not out.exists():
            old.rename(out)
        raise ExportError(f"cannot put the package at {out}: {error.strerror}").about("out") from error
    shutil.rmtree(old, ignore_errors=True)
    return Package.open(out, part="gateway") and Package.open(out)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def storage_mb(files: Mapping[str, FileEntry]) -> float:
    """Return the size of a package without its gateway part, in 10^6 bytes."""
    return sum(entry.bytes for name, entry in files.items() if not name.startswith("gateway/")) / 1e6
