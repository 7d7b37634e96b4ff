"""Results worth keeping: one JSON line each, with date, machine and commit, in ``benchmarks/results/NAME.jsonl``."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).parent / "results"


def machine() -> str:
    """Return what computed: the processor, how wide its int8 products are, how many cores this process may use.

    A rented machine's processor may be named by its maker only, whatever it can do.
    """
    names = [
        line.partition(":")[2].strip()
        for line in _text(Path("/proc/cpuinfo")).splitlines()
        if line.startswith(("model name", "Model"))
    ]
    has = extensions()
    widest = next((f" ({name})" for name in _WIDTHS if name in has), "")
    processor = names[0] if names else platform.machine()
    return f"{processor}{widest}, {len(os.sched_getaffinity(0))} cores, {platform.system()}"


EXTENSIONS: Final = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16"),
)
"""Vector extensions that decide how fast int8, bf16 and fp32 matrix products are, as /proc/cpuinfo names them."""
_WIDTHS: Final = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "asimddp", "asimd")


def extensions() -> list[str]:
    """Return which of EXTENSIONS this machine has."""
    lines = _text(Path("/proc/cpuinfo")).splitlines()
    flags = next(
        (line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))), []
    )
    return [name for name in EXTENSIONS if name in flags]


def commit() -> str:
    """Return the short commit of this checkout, with a plus sign when files other than results differ from it."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        but_results = ["--", ":(top)", f":(exclude){RESULTS.name}"]
        changed = subprocess.run(
            ["git", "diff", "--quiet", "HEAD", *but_results], cwd=here, check=False, capture_output=True
        ).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed else "")


def append(name: str, command: str, figures: dict[str, Any], elsewhere: dict[str, str] | None = None) -> Path:
    """Add a result to ``NAME.jsonl``; return the file.

    Args:
        name: of the benchmark.
        command: that printed it.
        figures: what it printed.
        elsewhere: machine and commit of a result that was measured on another machine.
    """
    path = RESULTS / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    where = elsewhere or {"machine": machine(), "commit": commit()}
    line = {"date": today, "command": command, **where, **figures}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, sort_keys=True, allow_nan=False) + "\n")
    return path


def read(name: str) -> list[dict[str, Any]]:
    """Return the results of ``NAME.jsonl``, oldest first; none when there is no such file."""
    return [json.loads(line) for line in _text(RESULTS / f"{name}.jsonl").splitlines() if line.strip()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
