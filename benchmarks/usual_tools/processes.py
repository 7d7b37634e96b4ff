"""Run an arm in a process of its own: its last line of JSON, and what the whole process took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import IO, Any, Final

from benchmarks.seeds import RunError

LONGEST_S: Final = 1800


def measured(what: str, module: str, words: Sequence[str]) -> dict[str, Any]:
    """Run a module to its end.

    Args:
        what: is run, for the message of a failure.
        module: prints a JSON object last.
        words: of its command line.

    Returns:
        The object, with ``process_s`` (wall) and ``cpu_s`` (all its threads), both from its start to its end.

    Raises:
        RunError: when it fails, takes too long, or prints no JSON object.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        status, cpu_s = _ended(subprocess.Popen([sys.executable, "-m", module, *words], stdout=out, stderr=errors))
        passed = {"process_s": round(time.perf_counter() - started, 1), "cpu_s": round(cpu_s, 1)}
        told, complaint = (_last_line(file) for file in (out, errors))
    if status != 0:
        raise RunError(f"{what} ended with status {status} after {passed['process_s']} s: {complaint or 'no message'}")
    try:
        return dict(json.loads(told)) | passed
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise RunError(f"{what}: its last line is no JSON object: {told[:80]!r}") from error


def _ended(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Wait for the end; return the exit status and the processor seconds of this one child, others may run beside it.

    One that takes longer than LONGEST_S is killed: its status is negative.
    """
    limit = threading.Timer(LONGEST_S, process.kill)
    limit.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        limit.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def _last_line(file: IO[str]) -> str:
    file.seek(0)
    return next((line for line in reversed(file.read().splitlines()) if line.strip()), "")
