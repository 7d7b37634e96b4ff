"""Child processes of the demo: started together, watched, their logs kept, and none left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from edge_runtime.wire.errors import FederationError

LOOK_S: Final = 0.05
"""Between two looks at running jobs: a core waits half of it, on average, for the next job."""


class ChildError(FederationError):
    """A process of the demo failed; the message names its log."""


@dataclass
class Child:
    """A running process. Args: log: what it prints on stderr; output: what it prints on stdout."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    output: Path

    def failed(self) -> bool:
        """Tell whether it ended with an error."""
        return self.process.poll() not in (None, 0)

    def why(self) -> str:
        """Return the last line of its log and where the rest is."""
        lines = [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        last = lines[-1] if lines else "no message"
        return f"{self.name} ended with status {self.process.poll()}: {last} (see {self.log})"


@dataclass
class Processes:
    """Every child of a run; leaving the context stops those that still run. Args: folder: for logs."""

    folder: Path
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, arguments: Sequence[str], threads: int = 1, folder: Path | None = None) -> Child:
        """Start ``python -m ARGUMENTS`` with its output in files.

        Args:
            name: of the child, and of its files.
            arguments: a module and its arguments.
            threads: of its numeric libraries.
            folder: another checkout whose modules it runs; None: this one's.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        log, output = self.folder / f"{name}.log", self.folder / f"{name}.out"
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
        environment |= {"PYTHONPATH": str(folder)} if folder is not None else {}
        with log.open("wb") as errors, output.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )
        child = Child(name, process, log, output)
        self.children.append(child)
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, patience_s: float = 10.0) -> None:
        """Ask every running child to end, then make it."""
        running = [child for child in self.children if child.process.poll() is None]
        for child in running:
            child.process.send_signal(signal.SIGINT)
        until = time.monotonic() + patience_s
        for child in running:
            try:
                child.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()


class Jobs:
    """Jobs that wait, run and are done. Args: arguments: a module and its arguments, by name, in their order."""

    def __init__(self, processes: Processes, arguments: Mapping[str, Sequence[str]]) -> None:
        self._processes, self._waiting = processes, dict(arguments)
        self._running: dict[str, Child] = {}
        self.done: set[str] = set()

    @property
    def running(self) -> set[str]:
        """Names of those that run."""
        return set(self._running)

    @property
    def ended(self) -> bool:
        """Whether all are done."""
        return not self._waiting and not self._running

    def put_first(self, arguments: Mapping[str, Sequence[str]]) -> None:
        """Let further jobs start before all that wait."""
        self._waiting = {**arguments, **self._waiting}

    def look(self, width: int) -> None:
        """Take note of those that ended, and start others while fewer than ``width`` run.

        Raises:
            ChildError: when one fails; the others are left to ``processes``.
        """
        for name, child in list(self._running.items()):
            if child.failed():
                raise ChildError(child.why())
            if child.process.poll() == 0:
                self.done.add(name)
                del self._running[name]
        for name in list(self._waiting)[: max(0, width - len(self._running))]:
            self._running[name] = self._processes.start(name, self._waiting.pop(name))


def run_all(
    processes: Processes, jobs: Mapping[str, Sequence[str]], width: int, tick: Callable[[set[str], set[str]], None]
) -> None:
    """Run jobs, at most ``width`` at a time, to their end; ``tick`` gets (running, done) after each look.

    Raises:
        ChildError: when one fails; the others are left to ``processes``.
    """
    finish(Jobs(processes, jobs), width, tick)


def finish(jobs: Jobs, width: int, tick: Callable[[set[str], set[str]], None]) -> None:
    """Bring jobs to their end, as ``run_all`` does those that it starts."""
    while not jobs.ended:
        jobs.look(width)
        tick(jobs.running, jobs.done)
        time.sleep(LOOK_S)


def last_json(path: Path) -> dict[str, Any]:
    """Return the JSON object on the last line of ``path``.

    Raises:
        ChildError: when there is none.
    """
    for line in reversed(path.read_text(encoding="utf-8").splitlines()):
        if line.startswith("{"):
            try:
                result: dict[str, Any] = json.loads(line)
            except ValueError:
                break
            return result
    msg = f"{path} ends without a JSON object"
    raise ChildError(msg)


class Tail:
    """New JSON lines of a growing file; a line that is half written waits for its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the objects of complete lines since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return
        end = data.rfind(b"\n") + 1
        self._at += end
        for line in data[:end].splitlines():
            yield json.loads(line)
