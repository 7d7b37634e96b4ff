"""What happens, as it happens: one dict an event, for files, terminals and tests. Names, numbers and codes only."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from broker_server.errors import StorageError
from edge_runtime.wire.private_files import open_to_append

Watcher = Callable[[dict[str, Any]], None]
"""Takes an event: "event" names its kind, "at" its time in seconds since 1970."""


class Events:
    """Tells every watcher. Args: clock: seconds since 1970."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> None:
        """Add a watcher."""
        self._watchers.append(watcher)

    def tell(self, kind: str, **fields: object) -> None:
        """Tell what happened."""
        event = {"event": kind, "at": round(self._clock(), 3), **fields}
        for watcher in self._watchers:
            watcher(event)


class JsonLines:
    """Writes events to a file, one a line, each flushed at once; only its owner may read it.

    Raises:
        StorageError: when the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._path = path
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO | None = open_to_append(path)
        except OSError as error:
            msg = f"cannot write events to {path}: {error.strerror}"
            raise StorageError(msg) from error

    def __call__(self, event: dict[str, Any]) -> None:
        """Write an event; a full disk costs the stream, not the round. After a reload the file may be a new one."""
        if event["event"] == "reload":
            self._open_again()
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(event, separators=(",", ":"), ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError:
            self._file = None

    def _open_again(self) -> None:
        """Open the file by its name: whoever rotates logs has moved the old one, or there is room again."""
        with contextlib.suppress(OSError):
            file = open_to_append(self._path)
            if self._file is not None:
                self._file.close()
            self._file = file
