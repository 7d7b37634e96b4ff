"""Content-addressed cache of compiled programs: what was compiled once for one profile serves all that share it.

The key covers everything that determines a program: the backbone's digest, the sizes, the methods, quantization, the
versions of the compilers, and the bytes of our own export code. An entry is a folder, written whole or not at all.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from edge_runtime.wire import experts, program_interface
from edge_runtime.wire.digests import canonical_json, file_sha256, sha256

COMPILERS: Final = ("torch", "executorch", "transformers", "onnx")
RECORD: Final = "record.json"
_COMPILING: Final = ("compiling", "model", "proving", "source", "packaging/tasks.py", "provenance.py", "shapes.py")
"""Rooms and files of export that shape a program, its proof or its figures."""
CONTRACT: Final = (experts, program_interface)
"""Modules of the contract that do."""


def default_folder() -> Path:
    """Return the cache folder of the XDG base directory specification."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return root / "edge-experts" / "programs"


def versions() -> dict[str, str]:
    """Return the versions of the compilers."""
    return {name: metadata.version(name) for name in COMPILERS}


def code() -> list[Path]:
    """Return the files of export that shape a program, its proof or its figures, in the order of their names."""
    places = [Path(__file__).parent / name for name in _COMPILING]
    return [file for place in places for file in (sorted(place.glob("*.py")) if place.is_dir() else [place])]


@functools.cache
def code_digest() -> str:
    """Return a digest over those modules of ours that shape a program."""
    digest = hashlib.sha256()
    for path in (*code(), *(Path(str(module.__file__)) for module in CONTRACT)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def cache_key(request: dict[str, Any]) -> str:
    """Return the key of a request (plain values), with the versions and our code's digest added."""
    return sha256(canonical_json({"request": request, "versions": versions(), "code": code_digest()})).hex()


def lookup(folder: Path, key: str) -> tuple[Path, dict[str, Any]] | None:
    """Return an entry's folder and record, or None when there is none or it is damaged."""
    entry = folder / key
    try:
        record = json.loads((entry / RECORD).read_text())
        whole = all(file_sha256(entry / name) == digest for name, digest in record["files"].items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
    return (entry, record) if whole else None


def store(folder: Path, key: str, files: dict[str, Path], record: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Add an entry; ``files`` are moved into it. A damaged entry of the same key is replaced.

    A whole one stays, and is returned: another build made it at the same time and may be reading it.

    Raises:
        OSError: when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    try:
        digests = {}
        for name, source in files.items():
            target = fresh / name
            shutil.move(source, target)
            digests[name] = file_sha256(target)
        whole = {**record, "files": digests}
        (fresh / RECORD).write_text(json.dumps(whole, indent=1))
        present = lookup(folder, key)
        if present is not None:
            return present
        entry = folder / key
        shutil.rmtree(entry, ignore_errors=True)
        try:
            fresh.rename(entry)
        except OSError:
            present = lookup(folder, key)  # there since the line above
            if present is None:
                raise
            return present
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return entry, whole
