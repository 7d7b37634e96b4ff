"""Processes of one purpose: forked, so that all imports are there already, and killed without harm to anybody else."""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

LIMIT_S: Final = 60
CRASHED: Final = 70


@dataclass(frozen=True)
class Ended:
    """How a child ended. Args: code: exit code, or minus the signal; told: what it said before, one dict each."""

    code: int
    told: tuple[dict[str, Any], ...]

    def said(self, key: str) -> list[Any]:
        """Return the values of a key, oldest first."""
        return [line[key] for line in self.told if key in line]


Say = Callable[..., None]


@dataclass(frozen=True)
class Child:
    """A process that runs. Args: pid: of it; pipe: what it says."""

    pid: int
    pipe: int

    def wait(self) -> Ended:
        """Wait until it ends."""
        told = tuple(_lines(self.pipe))
        _, status = os.waitpid(self.pid, 0)
        return Ended(os.waitstatus_to_exitcode(status), told)

    def ended(self) -> int | None:
        """Return the exit code, or minus the signal, of one that ended; what it said is dropped. None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        os.close(self.pipe)
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """End it now."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.pipe)


def start(work: Callable[[Say], int], limit_s: int = LIMIT_S) -> Child:
    """Fork a process that does ``work``, which may say things and returns the exit code; it ends after ``limit_s``."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os._exit(_work(work, writing, limit_s))
    os.close(writing)
    return Child(pid, reading)


def run(work: Callable[[Say], int]) -> Ended:
    """Fork a process that does ``work`` and wait for its end."""
    return start(work).wait()


def run_many(works: Iterable[Callable[[Say], int]], parallel: int, limit_s: int) -> Iterator[Ended]:
    """Do works in processes, ``parallel`` at once; yield how they ended, in their order."""
    running: deque[Child] = deque()
    try:
        for work in works:
            running.append(start(work, limit_s))
            if len(running) >= parallel:
                yield running.popleft().wait()
        while running:
            yield running.popleft().wait()
    finally:  # whoever asked wants no more; what these started ends by its own limit
        for child in running:
            child.kill()


def _work(work: Callable[[Say], int], writing: int, limit_s: int) -> int:
    def say(**fields: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        os.write(writing, (json.dumps(fields) + "\n").encode())

    signal.alarm(limit_s)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        return work(say)
    except BaseException:  # noqa: BLE001 - the parent must learn of it, whatever it was
        say(crash=traceback.format_exc()[-1500:])
        return CRASHED


def _lines(handle: int) -> Iterator[dict[str, Any]]:
    with os.fdopen(handle, "rb") as pipe:
        for line in pipe:
            if line.endswith(b"\n"):
                yield json.loads(line)
