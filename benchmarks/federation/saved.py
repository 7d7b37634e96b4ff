"""The state of a run that stopped, as one file that numpy alone reads: arrays by name, and numbers as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from benchmarks.federation.run import Position

_BOOKS: Final = ("trained", "routed", "plans")


def save(file: Path, at: Position) -> None:
    """Write where a run stands, in one piece: a run that is killed meanwhile finds the state before."""
    arrays: dict[str, Any] = {f"state/{name}": value for name, value in at.state.items()}
    arrays |= {f"up/{client}/{name}": value for (client, name), value in at.up.left.items()}
    arrays |= {f"left/{name}": value for name, value in at.down.left.items()}
    arrays |= {f"changes/{name}": value for name, value in at.down.changes.items()}
    arrays |= {f"had/{client}/{name}": value for (client, name), value in at.down.had.items()}
    arrays |= {f"books/{name}": value for name in _BOOKS if (value := getattr(at.books, name)) is not None}
    numbers = {"number": at.number, "seconds": at.books.seconds, "curve": at.books.numbers, "served": at.books.served}
    arrays["numbers"] = np.frombuffer(json.dumps(numbers).encode(), np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npz")
    np.savez(part, allow_pickle=False, **arrays)
    part.replace(file)


def load(file: Path, at: Position) -> None:
    """Put a run where a file says. Args: at: changed in place."""
    with np.load(file, allow_pickle=False) as kept:
        arrays = {name: kept[name] for name in kept.files}
    numbers = json.loads(arrays.pop("numbers").tobytes())
    at.number, at.books.seconds, at.books.numbers = numbers["number"], numbers["seconds"], numbers["curve"]
    at.books.served = numbers["served"]
    at.state = _below(arrays, "state/")
    at.down.left, at.down.changes = _below(arrays, "left/"), _below(arrays, "changes/")
    at.up.left = {_pair(name): value for name, value in _below(arrays, "up/").items()}
    at.down.had = {_pair(name): value for name, value in _below(arrays, "had/").items()}
    for name, value in _below(arrays, "books/").items():
        setattr(at.books, name, value)


def _below(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _pair(name: str) -> tuple[int, str]:
    client, _, tensor = name.partition("/")
    return int(client), tensor
