"""The little programs, lowered once a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from once import once


def lowered(run_folder: Path) -> Path:
    """Return the folder of the files that little_programs.py describes, below the folder of a run."""
    return once(run_folder / "little-programs", _lower)


def _lower(folder: Path) -> None:
    script = Path(__file__).with_name("little_programs.py")
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
