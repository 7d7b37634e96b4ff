"""The little programs, lowered once for all test modules of a run."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


@functools.cache
def lowered() -> Path:
    """Return the folder of the files that little_programs.py describes; it is removed when the run ends."""
    folder = Path(tempfile.mkdtemp(prefix="little-programs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    script = Path(__file__).with_name("little_programs.py")
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    return folder
