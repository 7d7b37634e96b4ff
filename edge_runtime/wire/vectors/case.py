"""One case, and the folder of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CASES: Final = Path(__file__).parent / "cases"
_KEYS: Final = {"kind", "expect", "comment", "context", "meaning"}


@dataclass(frozen=True)
class Case:
    """One decision. Args: name: unique among its kind; the rest as in README.md."""

    kind: str
    name: str
    data: bytes
    expect: str
    comment: str
    context: dict[str, Any] | None = None
    meaning: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if (self.expect == "ACCEPT") != (self.meaning is not None):
            msg = f"{self.kind}/{self.name}: accepted cases have a meaning, refused ones have none"
            raise ValueError(msg)

    def files(self) -> dict[str, bytes]:
        """Return the two files of the case by their paths under ``cases``."""
        tree = {"kind": self.kind, "expect": self.expect, "comment": self.comment}
        more = {"context": self.context, "meaning": self.meaning}
        found = {**tree, **{key: value for key, value in more.items() if value is not None}}
        text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        stem = f"{self.kind}/{self.name}"
        return {f"{stem}.json": text.encode(), f"{stem}.bin": self.data}


def read_cases(folder: Path = CASES) -> list[Case]:
    """Return every case under ``folder``.

    Raises:
        ValueError: for a key that this reader does not know.
    """
    return [_read(path) for path in sorted(folder.glob("*/*.json"))]


def _read(path: Path) -> Case:
    tree = json.loads(path.read_bytes())
    if unknown := set(tree) - _KEYS:
        msg = f"{path.name} has unknown keys {sorted(unknown)}"
        raise ValueError(msg)
    return Case(name=path.stem, data=path.with_suffix(".bin").read_bytes(), **tree)


def tree_of(cases: Iterable[Case]) -> dict[str, bytes]:
    """Return the files of ``cases`` by path.

    Raises:
        ValueError: when two cases have one name.
    """
    files: dict[str, bytes] = {}
    for case in cases:
        if f"{case.kind}/{case.name}.bin" in files:
            msg = f"two cases are named {case.kind}/{case.name}"
            raise ValueError(msg)
        files |= case.files()
    return files
