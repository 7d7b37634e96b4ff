"""Our library between a process and the kernel (shim.c): compiled when it is needed, preloaded, armed from Python."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

LIBRARY: Final = "EDGE_EXPERTS_SHIM"
"""Environment variable: the library that this process has preloaded."""


class Kind(IntEnum):
    """What happens at a call; the numbers are shim.c's."""

    NOTHING = 0
    KILL = 1
    HALF = 2
    FAIL = 3
    SHORT = 4


@dataclass(frozen=True)
class Fault:
    """What happens to the calls of a process that change files.

    Args:
        name: for people.
        kind: what happens.
        first: the call that it begins with, from 0.
        calls: how many calls it lasts.
        error: of calls that fail.
    """

    name: str
    kind: Kind
    first: int
    calls: int = 1
    error: int = 0


KINDS: Final = {
    "kill -9": (Kind.KILL, 1, 0),
    "half a write, then kill -9": (Kind.HALF, 1, 0),
    "short write": (Kind.SHORT, 1, 0),
    "I/O error": (Kind.FAIL, 1, errno.EIO),
    "full disk": (Kind.FAIL, 12, errno.ENOSPC),
    "read-only disk": (Kind.FAIL, 12, errno.EROFS),
}
"""By name: kind, calls that it lasts, errno."""


def fault(name: str, first: int) -> Fault:
    """Return the fault of a name that begins with a call."""
    kind, calls, error = KINDS[name]
    return Fault(name, kind, first, calls, error)


def compiled(folder: Path) -> Path:
    """Compile the library into ``folder``.

    Raises:
        OSError, subprocess.CalledProcessError: without a C compiler.
    """
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def run_preloaded(library: Path, arguments: Sequence[str]) -> int:
    """Run this benchmark in a process with the library; return its exit code."""
    more = {"LD_PRELOAD": str(library), LIBRARY: str(library), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.faults", *arguments]
    return subprocess.run(command, env=os.environ | more, check=False).returncode


def arm(folder: Path, what: Fault | None) -> None:
    """Let a fault happen to this process's calls that change files below ``folder``; None only counts them."""
    chosen = what or Fault("none", Kind.NOTHING, -1)
    last = chosen.first + chosen.calls - 1
    _library().fault_arm(
        str(folder).encode(), ctypes.c_long(chosen.first), ctypes.c_long(last), chosen.kind, chosen.error
    )


def calls() -> int:
    """Return how many such calls there were since ``arm``."""
    return int(_library().fault_count())


def move_clock(seconds: float, after: int) -> None:
    """Let the wall clock jump. Args: seconds: by how much; after: how many more times it is read before that."""
    _library().fault_clock(ctypes.c_double(seconds), ctypes.c_long(after))


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(os.environ[LIBRARY])
    library.fault_count.restype = ctypes.c_long
    return library
