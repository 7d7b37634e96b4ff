"""Processes of one purpose: forked, so that all imports are there already, and killed without harm to anybody else."""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Callable, Iterator
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


def run(work: Callable[[Say], int]) -> Ended:
    """Fork a process that does ``work``, which may say things and returns the exit code; wait for its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os._exit(_work(work, writing))
    os.close(writing)
    told = tuple(_lines(reading))
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), told)


def _work(work: Callable[[Say], int], writing: int) -> int:
    def say(**fields: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        os.write(writing, (json.dumps(fields) + "\n").encode())

    signal.alarm(LIMIT_S)
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
