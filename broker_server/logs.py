"""The gateway's log: one line an event, with its time and level, for people, for machines, or for systemd's journal."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from broker_server.config import LOG_LEVELS
from broker_server.display import NOISY, describe

LEVELS: Final = {name: getattr(logging, name.upper()) for name in LOG_LEVELS}
_NAMES: Final = {number: name for name, number in LEVELS.items()}
_WARNINGS: Final = frozenset(
    {"broker", "certificate", "distrusted", "down", "left_out", "limit", "not_served", "plaintext", "refused"}
    | {"masks_failed", "repaired", "rests", "shard"}
)
_ERRORS: Final = frozenset({"damaged", "lost", "storage"})
_DEBUG: Final = frozenset({"ignored"})
_PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
"""Of syslog(3), as sd-daemon(3) has them at the beginning of a line."""


def level_of(event: Mapping[str, Any]) -> int:
    """Return how grave an event is, as ``logging`` counts: DEBUG, INFO, WARNING or ERROR."""
    kind = event["event"]
    if kind in _ERRORS or event.get("failure"):
        return logging.ERROR
    noisy = kind == "privacy" and (not event["left"] or event["noise_to_signal"] >= NOISY)
    if noisy or kind in _WARNINGS or event.get("code", "ACCEPTED") not in (None, "ACCEPTED"):
        return logging.WARNING
    if kind == "upstream" and event["what"] in ("away", "refused", "unanswered"):
        return logging.WARNING
    return logging.DEBUG if kind in _DEBUG else logging.INFO


def is_journal(out: TextIO, environment: Mapping[str, str]) -> bool:
    """Return whether systemd's journal reads what is written here (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(out.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Lines:
    """Writes a line for each event that matters.

    Args:
        out: where to.
        form: "text": time, level and words; "json": one object with all that is known; "journal": a priority and words,
            since the journal keeps the time.
        least: levels below it are left out.
    """

    def __init__(self, out: TextIO, form: str = "text", least: int = logging.INFO) -> None:
        self._out, self._form, self._least = out, form, least

    def __call__(self, event: dict[str, Any]) -> None:
        """Take an event; what only machines want to know has no line for people."""
        message = describe(event)
        if message or self._form == "json":
            self.write(level_of(event), message, event)

    def write(self, level: int, message: str, event: Mapping[str, Any]) -> None:
        """Write a line. Args: level: as ``logging`` counts; message: words; event: with its time ("at") and fields."""
        if level < self._least:
            return
        with while_output_lasts():
            print(self._line(level, message, event), file=self._out, flush=True)

    def _line(self, level: int, message: str, event: Mapping[str, Any]) -> str:
        level = max(known for known in _NAMES if known <= max(level, logging.DEBUG))
        if self._form == "journal":
            return f"<{_PRIORITIES[level]}>{message}"
        if self._form == "json":
            more = {"level": _NAMES[level], **({"message": message} if message else {})}
            return json.dumps({**event, **more}, separators=(",", ":"), ensure_ascii=False)
        time = datetime.fromtimestamp(event["at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{time} {_NAMES[level]:7} {message}"

    def close(self) -> None:
        """Nothing to put away."""


class Records(logging.Handler):
    """Writes what libraries log in the same form. Args: lines: where to."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record on one line."""
        message = " ".join(f"{record.name}: {self.format(record)}".split())
        self._lines.write(record.levelno, message, {"event": "log", "at": round(record.created, 3)})


@contextmanager
def while_output_lasts() -> Iterator[None]:
    """Go on in silence on a full disk, or when the terminal was closed (which also sends SIGHUP); else fail."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EIO, errno.ENOSPC):
            raise
