"""One case, and the files of all of them: one file a kind."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_runtime.wire.vectors.layout import expand, shorten, text_of
from edge_runtime.wire.vectors.pieces import joined, pieces_of

CASES: Final = Path(__file__).parent / "cases"
_NEEDED: Final = {"name", "expect", "comment", "bytes"}
_KEYS: Final = _NEEDED | {"context", "meaning"}
_LONG_TEXT: Final = 300  # bytes; from here on a case is written as its difference from the first of its kind


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

    def tree(self, like: tuple[str, bytes] | None) -> dict[str, Any]:
        """Return the case as its file has it. Args: like: name and bytes of the case that it may refer to."""
        tree = {
            "name": self.name,
            "expect": self.expect,
            "comment": self.comment,
            "context": shorten(self.context),
            "bytes": pieces_of(self.data, like),
            "meaning": shorten(self.meaning),
        }
        return {key: value for key, value in tree.items() if value is not None}


def read_cases(folder: Path = CASES) -> list[Case]:
    """Return every case under ``folder``.

    Raises:
        ValueError: for a key that this reader does not know, and for two cases of one name.
    """
    return [case for path in sorted(folder.glob("*.json")) for case in _read(path)]


def _read(path: Path) -> list[Case]:
    trees = [expand(tree) for tree in json.loads(path.read_bytes())]
    for tree in trees:
        if unknown := tree.keys() ^ (tree.keys() & _KEYS | _NEEDED):
            msg = f"{path.name}: a case has unknown keys, or lacks some: {sorted(unknown)}"
            raise ValueError(msg)
    pieces = {tree["name"]: tree.pop("bytes") for tree in trees}
    if len(pieces) < len(trees):
        msg = f"{path.name}: two cases have one name"
        raise ValueError(msg)

    def bytes_of(name: str) -> bytes:
        return joined(pieces[name], bytes_of)

    return [Case(kind=path.stem, data=bytes_of(tree["name"]), **tree) for tree in trees]


def tree_of(cases: Iterable[Case]) -> dict[str, bytes]:
    """Return the files of ``cases`` by name.

    Raises:
        ValueError: when two cases have one name.
    """
    kinds: dict[str, dict[str, Case]] = {}
    for case in cases:
        kind = kinds.setdefault(case.kind, {})
        if case.name in kind:
            msg = f"two cases are named {case.kind}/{case.name}"
            raise ValueError(msg)
        kind[case.name] = case
    return {f"{kind}.json": _file(list(named.values())) for kind, named in kinds.items()}


def _file(cases: list[Case]) -> bytes:
    first = cases[0] if len(cases[0].data) >= _LONG_TEXT else None
    trees = {case.name: case.tree((first.name, first.data) if first and case is not first else None) for case in cases}
    return text_of([trees[name] for name in sorted(trees)]).encode()
