"""Tasks for the tests of export's workers: small functions in a module that a worker process can import."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from export.errors import LoweringError

Progress = Callable[[str], None]


def prepare(threads: int) -> None:
    """Remember the share of the cores where a task can tell it."""
    os.environ["LITTLE_TASKS_THREADS"] = str(threads)


def double(number: int, progress: Progress) -> tuple[int, int, int]:
    """Return twice a number, the process that did it, and its share of the cores."""
    progress(f"double {number}")
    return 2 * number, os.getpid(), int(os.environ["LITTLE_TASKS_THREADS"])


def refuse(progress: Progress) -> None:
    """Refuse as the compiler would."""
    progress("refuse")
    raise LoweringError("7 copies, expected none")


def stumble(_: Progress) -> None:
    """Fail as a mistake of ours would."""
    raise ZeroDivisionError


def vanish(_: Progress) -> None:
    """End as a process does that the system kills."""
    os._exit(9)


def linger(file: Path, progress: Progress) -> None:
    """Say where this process is, then wait for longer than any test."""
    file.write_text(str(os.getpid()))
    progress("linger")
    time.sleep(600)
