"""How much memory a decoder takes for its input."""

from __future__ import annotations

import tracemalloc

from tests.fuzz.target import Target


def peak_of(target: Target, data: bytes) -> int:
    """Return the bytes that Python's memory grew by at most; what a target makes once is made before."""
    target.check(b"")
    tracemalloc.start()
    try:
        target.check(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def within_memory(target: Target, data: bytes) -> None:
    """Run a target and hold its peak of memory against the input's size.

    Raises:
        MemoryError: when it took more than the target allows.
    """
    peak, allowed = peak_of(target, data), target.fixed + target.factor * len(data)
    if peak > allowed:
        raise MemoryError(f"{target.name} took {peak} bytes for {len(data)}, {allowed} are allowed")
