"""What the sensors of a Linux device say: memory that others leave, and its temperature. Reads a few small files."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.training.tiers import RESERVE_MIB, Signal

_PLAUSIBLE_C = (1.0, 150.0)
"""Sensors that are not there report 0, or figures no chip survives."""


def read_sensors(root: Path = Path("/")) -> Signal:
    """Return what can be told here; what cannot (another system, no sensor) is None."""
    return Signal(_room_mib(root), _celsius(root))


def short_of_memory(root: Path = Path("/")) -> bool:
    """Return whether less is free than is left to others; False where it cannot be told."""
    free = _field_kib(root / "proc/meminfo", "MemAvailable")
    return free is not None and free / 1024 < RESERVE_MIB


def _room_mib(root: Path) -> float | None:
    """Return what this process holds and could still get, in MiB."""
    free = _field_kib(root / "proc/meminfo", "MemAvailable")
    mine = _field_kib(root / "proc/self/status", "VmRSS")
    return None if free is None or mine is None else (free + mine) / 1024


def _field_kib(path: Path, name: str) -> int | None:
    lines = _read(path).splitlines()
    sizes = [line.split()[1] for line in lines if line.startswith(f"{name}:") and len(line.split()) > 1]
    return int(sizes[0]) if sizes and sizes[0].isdecimal() else None


def _celsius(root: Path) -> float | None:
    """Return the temperature of the warmest zone; the kernel gives thousandths of a degree."""
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    celsius = [int(text) / 1000 for zone in zones if (text := _read(zone).strip().lstrip("-")).isdecimal()]
    low, high = _PLAUSIBLE_C
    return max((degrees for degrees in celsius if low <= degrees <= high), default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
