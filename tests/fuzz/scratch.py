"""A folder in memory for what a decoder reads from a file; it goes with the process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path


@cache
def scratch() -> Path:
    """Return the folder of this process: in memory where there is some, as a disk would be written to all the time."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder has a name of its own
    folder = tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
