"""What a run tells: one JSON object a line for machines, short lines or a progress bar for people. Never a user's text.

Every event has ``t`` (Unix seconds), ``event``, ``device``, ``bytes_up``, ``bytes_down`` (MQTT payloads since the
start) and its own fields:

    started            examples, tier, profile, runtime, label_prior (strength)
    skipped            rows (without a text)
    features           examples (their class sums are at hand)
    connected
    disconnected       reason, again_s
    gateway_gone
    no_gateway         (the broker has nothing of a gateway of this federation)
    hello              trained_slots, examples
    unanswered         hellos (without an answer so far)
    joined             want_statistics
    statistics         bytes
    version_announced  version, round, missing (blocks)
    version            version (it is complete here)
    plan               round, experts, steps, deadline_s
    withdrawn          (the gateway took the plan back)
    round              round, base_version, blocks, layers (from the top), tier, steps, step (already made)
    step               round, step, steps, loss, step_ms
    trained            round, steps, step_ms (median), examples, loss_first, loss_last, peak_rss_mib,
                       fill (share of the steps' places that held a token), texts_per_step
    offer              round, bytes (of a delta that waits for the gateway to ask for it)
    delta              round, bytes (that the gateway lacked and asked for)
    verdict            kind, code, detail, round
    ignored, error     reason
    stopped            rounds, peak_rss_mib
    prefixes           hits, misses, damaged, bytes, limit_bytes (packages with a trunk)
    done
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from edge_runtime.errors import ConfigError
from edge_runtime.federation.link import Traffic

_BAR_PLACES: Final = 30
_REDRAW_S: Final = 0.1
_CLEAR_LINE: Final = "\x1b[K"  # from the cursor to the end


class Report:
    """Where events go.

    Args:
        device: named in every event.
        events: file that JSON lines are appended to; None for none.
        as_json: also write them to stdout; people's lines are left out then.

    Raises:
        ConfigError: when the file cannot be written.
    """

    def __init__(self, device: str = "", events: Path | None = None, *, as_json: bool = False) -> None:
        self._device, self._as_json = device, as_json
        self.traffic = Traffic()
        try:
            self._file: IO[str] | None = events.open("a", encoding="utf-8") if events is not None else None
        except OSError as error:
            raise ConfigError(f"cannot write events to {events}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def emit(self, event: str, text: str = "", **values: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Write one event; ``text`` is the line for people, empty for none."""
        traffic = {"bytes_up": self.traffic.bytes_up, "bytes_down": self.traffic.bytes_down}
        line = json.dumps({"t": round(time.time(), 3), "event": event, "device": self._device, **traffic, **values})
        if self._file is not None:
            self._file.write(line + "\n")
            self._file.flush()
        if self._as_json:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        elif text:
            sys.stderr.write(f"{self._device}: {text}\n" if self._device else f"{text}\n")
            sys.stderr.flush()


@contextmanager
def bar(label: str, total: int, *, show: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr while it is a terminal; gives a function that takes how much was done."""
    if not (show and sys.stderr.isatty()):
        yield lambda _: None
        return
    progress = _Progress(label, total)
    progress.draw()
    try:
        yield progress.advance
    finally:
        sys.stderr.write(f"\r{_CLEAR_LINE}")
        sys.stderr.flush()


class _Progress:
    """One line of a terminal. Args: label: what is done; total: how much of it there is."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total = label, total
        self._done = 0
        self._began = self._drawn = time.monotonic()

    def advance(self, done: int) -> None:
        """Count what was done, and draw it unless that was just done."""
        self._done += done
        if time.monotonic() - self._drawn >= _REDRAW_S or self._done >= self._total:
            self.draw()

    def draw(self) -> None:
        """Write the line over the one before."""
        self._drawn = time.monotonic()
        share = min(self._done / self._total, 1.0) if self._total else 1.0
        full = round(share * _BAR_PLACES)
        left = (self._drawn - self._began) * (1 - share) / share if share else 0.0
        line = f"{self._label} [{'#' * full:-<{_BAR_PLACES}}] {share:4.0%} {self._done}/{self._total}"
        sys.stderr.write(f"\r{_CLEAR_LINE}{line}{f' {left:.0f} s left' if 0 < share < 1 else ''}")
        sys.stderr.flush()
