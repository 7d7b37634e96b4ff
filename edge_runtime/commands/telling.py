"""What commands show while they work: bars of progress and events of a device, on a terminal, in a file, as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from edge_runtime.errors import ConfigError
from edge_runtime.federation.report import DeviceEvent
from edge_runtime.interface.results import Progress

_BAR_PLACES: Final = 30
_REDRAW_S: Final = 0.1
_CLEAR_LINE: Final = "\x1b[K"  # from the cursor to the end


class Bars:
    """Shows each stage of work as a bar on stderr, while that is a terminal. Args: show: false shows nothing."""

    def __init__(self, *, show: bool = True) -> None:
        self._show = show and sys.stderr.isatty()
        self._began = self._drawn = 0.0
        self._drawing = False

    def __call__(self, progress: Progress) -> None:
        """Show how far a stage is, unless that was just done; with the first word of a stage the bar before it goes."""
        if not self._show:
            return
        now = time.monotonic()
        if progress.done == 0:
            self._clear()
            self._began = now
        if progress.done == 0 or progress.done >= progress.total or now - self._drawn >= _REDRAW_S:
            self._draw(progress, now)

    def _draw(self, progress: Progress, now: float) -> None:
        """Write the line over the one before."""
        self._drawn, self._drawing = now, True
        share = min(progress.done / progress.total, 1.0) if progress.total else 1.0
        full = round(share * _BAR_PLACES)
        left = (now - self._began) * (1 - share) / share if share else 0.0
        line = f"{progress.stage} [{'#' * full:-<{_BAR_PLACES}}] {share:4.0%} {progress.done}/{progress.total}"
        sys.stderr.write(f"\r{_CLEAR_LINE}{line}{f' {left:.0f} s left' if 0 < share < 1 else ''}")
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._drawing:
            sys.stderr.write(f"\r{_CLEAR_LINE}")
            sys.stderr.flush()
            self._drawing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()


class EventLines:
    """Writes events: one JSON object a line for machines, short lines for people.

    Args:
        events: file that JSON lines are appended to; None for none.
        as_json: also write them to stdout; people's lines are left out then.

    Raises:
        ConfigError: when the file cannot be written.
    """

    def __init__(self, events: Path | None = None, *, as_json: bool = False) -> None:
        self._as_json = as_json
        try:
            self._file: IO[str] | None = events.open("a", encoding="utf-8") if events is not None else None
        except OSError as error:
            raise ConfigError(f"cannot write events to {events}: {error.strerror}") from error

    def __call__(self, event: DeviceEvent) -> None:
        """Write one."""
        line = json.dumps(event.plain())
        if self._file is not None:
            self._file.write(line + "\n")
            self._file.flush()
        if self._as_json:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        elif event.text:
            sys.stderr.write(f"{event.device}: {event.text}\n")
            sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
