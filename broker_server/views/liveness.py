"""Whether a gateway is at work on a state directory, told by its lock and the time that it notes there."""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SILENT_S: Final = 60.0
"""A gateway notes every few seconds that it is alive; one that holds its state and does not is stuck."""


@dataclass(frozen=True)
class Liveness:
    """Args: held: a process holds the state; alive_at: when it last noted that it is alive, seconds since 1970."""

    held: bool
    alive_at: float

    def state(self, now: float) -> str:
        """Return "running", "stuck" (it holds its state and is silent) or "stopped". Args: now: seconds since 1970."""
        if not self.held:
            return "stopped"
        return "running" if now - self.alive_at < SILENT_S else "stuck"


def liveness(folder: Path) -> Liveness:
    """Look at the lock of a state directory; one that is not there is held by nobody."""
    lock = folder / "lock"
    try:
        return Liveness(_held(lock), lock.stat().st_mtime)
    except OSError:
        return Liveness(held=False, alive_at=0.0)


def _held(lock: Path) -> bool:
    with lock.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
