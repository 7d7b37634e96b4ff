"""Inputs to start from: the bytes of the shared vectors."""

from __future__ import annotations

from functools import cache

from edge_runtime.wire.vectors.case import read_cases

_LONGEST = 32 * 1024


def seeds_of(kind: str) -> list[bytes]:
    """Return the bytes of all cases of a kind, each once; those of the limits are too long to be changed often."""
    return list(dict.fromkeys(data for other, data in _cases() if other == kind and len(data) <= _LONGEST))


@cache
def _cases() -> tuple[tuple[str, bytes], ...]:
    return tuple((case.kind, case.data) for case in read_cases())
