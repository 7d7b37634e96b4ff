"""The committed corpus: a file for each target, in the pieces of the shared vectors, and how it is kept small.

An input is in it because it takes a step through our code that few smaller ones take, or because it was a finding: then
`finding` says what was mended.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from edge_runtime.wire.digests import sha256
from edge_runtime.wire.vectors.layout import expand, shorten, text_of
from edge_runtime.wire.vectors.pieces import joined, pieces_of
from tests.fuzz.target import Target

CORPUS: Final = Path(__file__).parent / "corpus"
_ROOT: Final = str(Path(__file__).parents[2])
_OURS: Final = (f"{_ROOT}/edge_runtime/", f"{_ROOT}/broker_server/")

_TIMES: Final = 4
"""Inputs that take a step, as far as there are so many."""

Way = frozenset[tuple[str, int, int]]


@dataclass(frozen=True)
class Input:
    """An input. Args: finding: what was wrong with it, in a line; "" where nothing was."""

    data: bytes
    finding: str = ""

    @property
    def name(self) -> str:
        """Return how reports call it."""
        return sha256(self.data).hex()[:12]


def read(name: str, folder: Path = CORPUS) -> list[Input]:
    """Return a target's inputs; none when it has no file."""
    path = folder / f"{name}.json"
    if not path.exists():
        return []
    trees = [expand(tree) for tree in json.loads(path.read_bytes())]
    return [Input(joined(tree["bytes"], {}.__getitem__), tree.get("finding", "")) for tree in trees]


def write(name: str, inputs: Iterable[Input], folder: Path = CORPUS) -> None:
    """Replace a target's file."""
    listed = sorted(set(inputs), key=lambda one: (not one.finding, one.finding, len(one.data), one.data))
    trees = [
        {**({"finding": one.finding} if one.finding else {}), "bytes": shorten(pieces_of(one.data))} for one in listed
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(text_of(trees))


def findings(name: str) -> list[str]:
    """Return what was mended in a target, each once."""
    return sorted({one.finding for one in read(name) if one.finding})


def smallest(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """Return inputs that together take every step through our code that all of them take, most steps in several ways.

    Args:
        target: whose inputs they are.
        inputs: the shorter are taken first.
    """
    kept, steps, size = [], Counter[tuple[str, int, int]](), 0
    for data in sorted(set(inputs), key=lambda one: (len(one), one)):
        way = way_of(target.check, data)
        if any(steps[step] < _TIMES for step in way) and size + len(data) <= target.kept:
            kept.append(data)
            steps.update(way)
            size += len(data)
    return kept


def way_of(check: Callable[[bytes], object], data: bytes) -> Way:
    """Return the steps from line to line of our code that an input takes."""
    steps: set[tuple[str, int, int]] = set()

    def inside(frame: FrameType, event: str, argument: object) -> Any:
        del argument
        name, before = frame.f_code.co_filename, frame.f_lineno

        def line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal before
            del argument
            if event == "line":
                steps.add((name, before, frame.f_lineno))
                before = frame.f_lineno
            return line

        return line if event == "call" and name.startswith(_OURS) else None

    sys.settrace(inside)
    try:
        check(data)
    finally:
        sys.settrace(None)
    return frozenset(steps)
