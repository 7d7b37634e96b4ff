"""Resident memory of this process."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_rss_mib() -> float:
    """Return this process's largest resident memory so far in MiB; 0 where the system does not tell."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return _peak_from_usage()


def _peak_from_usage() -> float:
    """Ask getrusage; on Linux it may count the parent that started this process, so it comes second."""
    try:
        import resource  # noqa: PLC0415 - not on every platform
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
