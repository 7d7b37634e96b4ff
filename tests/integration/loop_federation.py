"""Real gateways and devices as processes of their own, watched through the events that they print.

Nothing here waits for a time to pass: a wait ends with the event, with the end of the process, or with a failure that
shows what the process said.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from loop_wiretap import Wiretap

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import Assembler
from edge_runtime.wire.messages import decode

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0

Event = dict[str, Any]


def environment(**extra: str) -> dict[str, str]:
    """Return an environment in which this checkout's packages can be imported, two threads at most."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_RUNTIME_USER")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", **extra}


def command(module: str, *arguments: object) -> list[str]:
    """Return the command line of one of our programs."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def call(
    module: str, *arguments: object, folder: Path, text: str | None = None, patience: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with ``text`` on its standard input (a pipe either way)."""
    return subprocess.run(
        command(module, *arguments), cwd=folder, env=environment(), input=text or "", capture_output=True, text=True,
        timeout=patience, check=False,
    )  # fmt: skip


def answer(module: str, *arguments: object, folder: Path, code: int = 0) -> Any:
    """Run a command with ``--json`` that must end with ``code`` and complain of nothing; return its answer."""
    done = call(module, *arguments, "--json", folder=folder)
    assert done.returncode == code, done.stderr
    assert not done.stderr, done.stderr
    return json.loads(done.stdout)


EXACT = ("--codec", "auto", "--codec-down", "float32")
"""So that versions can be computed by hand; settings of a test come after it."""


class Running:
    """A process, its events (JSON lines on stdout) and its words (stderr).

    Args:
        name: for messages of failure.
        arguments: of the command line.
        folder: where it runs.
    """

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        self.name = name
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._words: list[str] = []
        self._open = 2
        self._process = subprocess.Popen(
            arguments, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for stream, take in ((self._process.stdout, self._event), (self._process.stderr, self._word)):
            assert stream is not None
            threading.Thread(target=self._read, args=(stream, take), daemon=True).start()

    def _read(self, stream: IO[str], take: Callable[[str], None]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    take(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def _event(self, line: str) -> None:
        self._events.append(json.loads(line) if line.startswith("{") else {"event": "line", "text": line})

    def _word(self, line: str) -> None:
        self._words.append(line)

    # --- looking on --------------------------------------------------------------------------------------------

    def events(self, kind: str, /, **fields: object) -> list[Event]:
        """Return the events of a kind so far whose fields have these values (or satisfy these functions)."""
        with self._changed:
            return [event for event in self._events if _fits(event, kind, fields)]

    @property
    def words(self) -> str:
        """What it said on stderr so far."""
        with self._changed:
            return "\n".join(self._words)

    def event(self, kind: str, /, nth: int = 1, **fields: object) -> Event:
        """Wait for the ``nth`` event of a kind."""
        self._wait(lambda: len(self._matching(kind, fields)) >= nth, f"event {kind} {fields or ''}")
        with self._changed:
            return self._matching(kind, fields)[nth - 1]

    def word(self, part: str) -> str:
        """Wait for a line on stderr that contains ``part``."""
        self._wait(lambda: any(part in line for line in self._words), f"{part!r} on stderr")
        with self._changed:
            return next(line for line in self._words if part in line)

    def _matching(self, kind: str, fields: Mapping[str, object]) -> list[Event]:
        return [event for event in self._events if _fits(event, kind, fields)]

    def _wait(self, seen: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE_S
        with self._changed:
            self._changed.wait_for(lambda: seen() or not self._open, until - time.monotonic())
            assert seen(), f"{self.name}: {what} did not come.\n{self._tail()}"

    def _tail(self) -> str:
        events = "\n".join(json.dumps(event)[:300] for event in self._events[-15:])
        return f"exit code {self._process.poll()}\n{events}\n" + "\n".join(self._words[-15:])

    # --- ending it ---------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE_S)

    def ask_to_stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self._process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for its end; return the exit code."""
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            with self._changed:
                tail = self._tail()
            raise AssertionError(f"{self.name} did not end.\n{tail}") from None
        with self._changed:
            self._changed.wait_for(lambda: not self._open, PATIENCE_S)
        return self._process.returncode

    def done(self) -> None:
        """Wait for its end, which must be a good one."""
        code = self.ended()
        with self._changed:
            assert code == 0, f"{self.name} failed.\n{self._tail()}"

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None


def _fits(event: Event, kind: str, fields: Mapping[str, object]) -> bool:
    return event["event"] == kind and all(
        want(event.get(name)) if callable(want) else event.get(name) == want for name, want in fields.items()
    )


class Federation:
    """Gateways, devices and wires of one test, in one folder; ``close`` leaves none of them behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[Running] = []
        self._wires: list[Wiretap] = []

    @property
    def state(self) -> Path:
        """The gateway's state directory."""
        return self.folder / "gateway"

    def start(self, name: str, module: str, *arguments: object) -> Running:
        """Start any of our programs."""
        running = Running(name, command(module, *arguments), self.folder)
        self._running.append(running)
        return running

    def gateway(self, package: Path, *options: object, port: int = 0) -> Running:
        """Start a gateway that closes as soon as its devices are gone; two devices make a round."""
        settings = ("--join-wait", "0.3", "--linger", "20", "--json")
        return self.start(
            "gateway", "broker_server", "run", "--package", package, "--state", self.state, "--port", port, *EXACT,
            *settings,
            *options,
        )  # fmt: skip

    def wire(self, gateway: Running) -> Wiretap:
        """Put a wire before a gateway's broker."""
        wire = Wiretap(port_of(gateway))
        self._wires.append(wire)
        return wire

    def device(self, name: str, package: Path, data: Path, url: str, *options: object) -> Running:
        """Start a device."""
        return self.start(
            name, "edge_runtime", "run", "--package", package, "--data", data, "--broker", url, "--device-id", name,
            "--state", self.folder / name, "--threads", "1", "--json", *options,
        )  # fmt: skip

    def ask(self, what: str, *options: object, code: int = 0) -> Any:
        """Ask ``broker_server`` about this federation's state."""
        return answer("broker_server", what, "--state", self.state, *options, folder=self.folder, code=code)

    def digests(self) -> list[str]:
        """Return the digests of all versions, oldest first."""
        return [row["digest"] for row in self.ask("versions")["versions"]]

    def close(self) -> None:
        """Kill what still runs."""
        for running in self._running:
            if running.alive:
                running.kill()
        for wire in self._wires:
            wire.close()


def port_of(gateway: Running) -> int:
    """Wait until a gateway listens; return its port."""
    return int(gateway.event("listening")["url"].rsplit(":", 1)[1])


def url_of(gateway: Running) -> str:
    """Wait until a gateway listens; return where devices connect."""
    return str(gateway.event("listening")["url"])


def deltas(wire: Wiretap) -> list[pb.Delta]:
    """Return the deltas that a device sent over a wire, each body once, in order."""
    return [decode(pb.Delta, body) for body in bodies(wire, "delta")]


def bodies(wire: Wiretap, word: str) -> list[bytes]:
    """Return the chunked bodies that passed on ``word``, each once, in order."""
    complete: dict[bytes, bytes] = {}
    together = Assembler()
    for heard in wire.heard(word):
        chunk = decode(pb.Chunk, heard.payload)
        body = together.add("device", chunk)
        if body is not None:
            complete.setdefault(chunk.digest, body)
    return list(complete.values())
