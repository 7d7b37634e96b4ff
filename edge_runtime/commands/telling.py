"""What commands show while they work: bars of progress and events of a device, on a terminal, in a file, as JSON."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from edge_runtime.errors import ConfigError
from edge_runtime.federation.report import DeviceEvent
from edge_runtime.interface.results import Progress


class Bars:
    """Shows each stage of work as a bar on stderr, while that is a terminal. Args: show: false shows nothing."""

    def __init__(self, *, show: bool = True) -> None:
        console = Console(stderr=True)
        self._console, self._show = console, show and console.is_terminal
        self._stack, self._bar, self._task = ExitStack(), Bar(console=console), TaskID(0)

    def __call__(self, progress: Progress) -> None:
        """Show how far a stage is; with its first word the bar of the one before goes."""
        if progress.done == 0:
            self._stack.close()
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn())
            self._bar = Bar(
                *columns, TimeRemainingColumn(), console=self._console, transient=True, disable=not self._show
            )
            self._stack.enter_context(self._bar)
            self._task = self._bar.add_task(progress.stage, total=progress.total)
        else:
            self._bar.update(self._task, completed=progress.done)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


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
