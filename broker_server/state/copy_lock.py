"""A state directory is copied, or its gateway removes old files from it, never both at once.

Both lock the folder itself: whoever copies shares the lock with others who do, whoever removes has it alone or removes
nothing now. A folder can be locked where nothing may be written, such as a backup on a medium. The kernel lets go of a
lock when its process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

WAIT_S: Final = 10.0
"""How long a copy waits for a gateway that removes; one that takes longer was stopped, and removes nothing."""
_POLL_S: Final = 0.02


@contextmanager
def copying(folder: Path) -> Iterator[None]:
    """Keep every file of a state directory until the block ends, however many versions its gateway makes meanwhile.

    A folder that cannot be locked, and a gateway that was stopped while it removes, do not keep anybody from copying.
    """
    with _opened(folder) as handle:
        until = time.monotonic() + WAIT_S
        while handle is not None and not _locked(handle, fcntl.LOCK_SH) and time.monotonic() < until:
            time.sleep(_POLL_S)
        yield


@contextmanager
def removing(folder: Path) -> Iterator[bool]:
    """Give whether files may be removed until the block ends: nobody copies the state directory."""
    with _opened(folder) as handle:
        yield handle is not None and _locked(handle, fcntl.LOCK_EX)


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        handle = None
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def _locked(handle: int, kind: int) -> bool:
    """Return whether there is a lock now, or the file system has none. Args: kind: shared or exclusive."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
