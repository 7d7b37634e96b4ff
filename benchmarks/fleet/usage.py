"""Memory and processor time of processes, thread by thread, as Linux counts them."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process; 0 when it is gone."""
    return _status(pid, "VmRSS")


def peak_mib(pid: int) -> float:
    """Return the most resident memory that a process ever had; 0 when it is gone."""
    return _status(pid, "VmHWM")


def _status(pid: int, key: str) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def children(pid: int) -> dict[int, str]:
    """Return the names of a process's children, by their number."""
    names = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            name, _, rest = path.read_text(encoding="utf-8", errors="replace").rpartition(")")
            if int(rest.split()[1]) == pid:
                names[int(path.parent.name)] = name.partition("(")[2]
    return names


def cpu_s(pid: int) -> dict[str, float]:
    """Return the processor seconds of a process's threads, by their names."""
    seconds: dict[str, float] = defaultdict(float)
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            name, _, rest = path.read_text(encoding="utf-8", errors="replace").rpartition(")")
            fields = rest.split()  # from field 3 of proc(5) on: 14 and 15 are user and system time
            main = path.parent.name == str(pid)
            seconds["main" if main else name.partition("(")[2]] += (int(fields[11]) + int(fields[12])) / TICKS
    return seconds


def shares(before: Mapping[str, float], after: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Return how many cores each thread kept busy meanwhile, the busiest first; without those under 0.01."""
    cores = {name: round((total - before.get(name, 0.0)) / seconds, 3) for name, total in after.items()}
    return {name: share for name, share in sorted(cores.items(), key=lambda one: -one[1]) if share >= 0.01}
