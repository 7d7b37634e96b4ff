"""Run a module whose threads the kernel knows by the names that Python has for them: `named_threads.py MODULE ...`.

Python does that itself from 3.14 on. A file to be run, so that the gateway of an older checkout runs under it too.
"""

from __future__ import annotations

import contextlib
import runpy
import sys
import threading
from pathlib import Path

_start = threading.Thread.start


def _start_named(thread: threading.Thread) -> None:
    _start(thread)
    with contextlib.suppress(OSError):  # it ended meanwhile
        Path(f"/proc/self/task/{thread.native_id}/comm").write_text(thread.name[:15], encoding="utf-8")


if __name__ == "__main__":
    threading.Thread.start = _start_named  # type: ignore[assignment, method-assign]
    del sys.path[0], sys.argv[0]  # of this folder, of this file
    sys.path.insert(0, str(Path.cwd()))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
