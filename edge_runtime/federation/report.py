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
from typing import IO, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from edge_runtime.errors import ConfigError
from edge_runtime.federation.link import Traffic


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
    console = Console(stderr=True)
    columns = (TextColumn(label), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (show and console.is_terminal)) as progress:
        task = progress.add_task(label, total=total)
        yield lambda done: progress.advance(task, done)
