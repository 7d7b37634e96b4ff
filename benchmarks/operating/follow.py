"""Does what a document says: each line by a shell in one folder, what goes on running in the background.

A line is *done* (run for real, and it ended with 0), *checked* (its commands are understood and its files are there; it
needs root, systemd or another machine), or *left out* (it needs what this machine lacks). Each is told of.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.operating.document import Step, steps
from benchmarks.operating.root_lines import ROOT, LineError, check
from benchmarks.operating.settings_file import set_keys
from edge_runtime.wire.errors import FederationError

PROGRAMS: Final = ("broker_server", "edge_runtime")
PATIENCE_S: Final = 120.0
COMPILING_S: Final = 1800.0
"""How long an export or an installation may take."""
END_S: Final = 20.0
POLL_S: Final = 0.2
_METRIC: Final = re.compile(r"\bedge_gateway_\w+")


class FollowError(FederationError):
    """The document says what is not so."""


@dataclass(frozen=True)
class Outcome:
    """What came of a line. Args: line: of the document; what: "done", "checked", "left out"; text: it, or why not."""

    line: int
    what: str
    text: str


@dataclass
class Follower:
    """Follows a document in a folder.

    Args:
        folder: where it is done; packages and data are there.
        instead: what this machine has in place of names and ports in the document.
        settings: TOML, set in gateway.toml after ``init``: what this machine and rounds of a second need.
        bare: install the gateway anew, as the document says, and use that.
        tell: called with each outcome.
    """

    folder: Path
    instead: dict[str, str]
    settings: str
    bare: bool = False
    tell: Callable[[Outcome], None] = lambda _: None
    outcomes: list[Outcome] = field(default_factory=list)
    _running: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)
    _lacking: str = ""
    _devices_too: bool = False

    def follow(self, text: str) -> None:
        """Do all of it, and leave nothing running.

        Raises:
            FollowError: at the first line that does not do what the document says.
        """
        self._make_programs()
        try:
            for step in steps(self._adapted(text)):
                self._step(step)
        finally:
            for _, process in self._running:
                process.kill()
                process.wait()

    def _step(self, step: Step) -> None:
        if step.kind == "note":
            self._note(step)
        elif self._lacking and step.name != "root":
            self._tell(step.line, "left out", f"{step.kind} block: {self._lacking} is not installed")
        elif step.kind == "sh":
            for line, command in step.commands():
                self._command(line, command, step.name)
        elif step.kind == "toml":
            self._set(step)
        elif step.name:
            self._write(step)

    # commands

    def _command(self, line: int, command: str, needs: str) -> None:
        program = (shlex.split(command, comments=True) or [""])[0]
        if needs == "root" or (needs == "bare" and not self.bare):
            self._check(line, command, needs)
        elif needs == "bare":
            self._install(line, command)
        elif command.startswith(("broker_server run", "edge_runtime run")):
            self._begin(line, command, program)
        else:
            self._run(line, command)

    def _run(self, line: int, command: str) -> None:
        patience = COMPILING_S if "export.build" in command or " install " in command else PATIENCE_S
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self._environment(), capture_output=True, text=True,
            timeout=patience, check=False,
        )  # fmt: skip
        if done.returncode:
            raise FollowError(
                f"line {line}: {command!r} ended with {done.returncode}: {done.stderr[-800:]}{done.stdout}"
            )
        if command.startswith("broker_server init ") and "--renew" not in command:
            file = self.folder / "gateway.toml"
            file.write_text(set_keys(file.read_text(), self.settings))
        self._tell(line, "done", command)

    def _begin(self, line: int, command: str, program: str) -> None:
        """Start what goes on running, and wait until a gateway answers."""
        log = self.folder / f"{program}-{line}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._running.append((command, process))
        if program == "broker_server":
            self._wait(line, lambda: self._ask("health", "--json").get("healthy"), log)
        self._tell(line, "done", f"{command}   (goes on)")

    def _check(self, line: int, command: str, needs: str) -> None:
        """Check a command that is not run."""
        try:
            how = check(command, self.folder / "root") if needs == "root" else "needs --bare"
        except LineError as error:
            raise FollowError(f"line {line}: {error}") from error
        self._tell(line, "checked", f"{command}   ({how})")

    def _install(self, line: int, command: str) -> None:
        """Install for real: the environment is made in the folder, from this repository."""
        if command.startswith(". "):
            for name in (*PROGRAMS, "python") if self._devices_too else ("broker_server",):
                program = self.folder / "bin" / name
                program.unlink()
                program.symlink_to(self.folder / "edge-experts/bin" / name)
            self._tell(line, "done", command)
            return
        self._devices_too = self._devices_too or "edge]" in command or "edge," in command
        self._run(line, command.replace("'.[", f"'{ROOT}["))

    # files

    def _set(self, step: Step) -> None:
        file = self.folder / step.name
        file.write_text(set_keys(file.read_text(), step.text))
        self._run(step.line, f"broker_server config --check --config {step.name}")

    def _write(self, step: Step) -> None:
        """Write a file: a program of the reader's, or settings of others; rules for Prometheus name known metrics."""
        # A file for /etc has a folder of its own: that of logrotate is called as the environment of --bare.
        file = self.folder / ("etc" if step.name.startswith("/") else "") / Path(step.name).name
        file.parent.mkdir(exist_ok=True)
        file.write_text(step.text)
        if step.kind == "python":
            self._tell(step.line, "done", f"wrote {step.name}")
            return
        known = set(_METRIC.findall((self.folder / "metrics.txt").read_text()))
        unknown = sorted(set(_METRIC.findall(step.text)) - known)
        if unknown:
            raise FollowError(f"line {step.line}: the gateway has no metric {', '.join(unknown)}")
        checks = {".yml": ("promtool", "check", "rules"), "": ("logrotate", "--debug", "--state", "rotate.state")}
        check = checks.get(file.suffix, ("",))
        if "groups:" not in step.text and file.suffix == ".yml":
            check = ("promtool", "check", "config", "--syntax-only")
        if shutil.which(check[0]):
            self._run(step.line, shlex.join([*check, str(file.relative_to(self.folder))]))
        else:
            self._tell(step.line, "checked", f"{step.name}   (metrics are known; {check[0]} is not installed)")

    # notes

    def _note(self, step: Step) -> None:
        words = step.text.split()
        if words[0] == "needs":
            tool = words[1]
            here = tool == "nothing" or shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin")
            self._lacking = "" if here else tool
        elif self._lacking:
            return
        elif words[0] == "stop":
            self._stop(step.line, "broker_server run" if step.text == "stop the gateway" else f"{words[1]}.enrolment")
        elif words[:3] == ["wait", "for", "version"]:
            self._wait(step.line, lambda: self._newest() >= int(words[3]))
            self._tell(step.line, "done", step.text)
        elif step.text == "wait for a new version":
            before = self._newest()
            self._wait(step.line, lambda: self._newest() > before)
            self._tell(step.line, "done", f"{step.text}: {self._newest()}")
        else:
            raise FollowError(f"line {step.line}: nobody knows what {step.text!r} means")

    def _stop(self, line: int, part: str) -> None:
        """End what runs with Ctrl-C. Args: part: of its command."""
        command, process = next(one for one in self._running if part in one[0])
        began = time.monotonic()
        ended = process.poll() is not None  # a device that was revoked ends by itself, with 1
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise FollowError(f"line {line}: {command} did not end within {END_S:.0f} s") from None
        if code not in ((1,) if ended else (0, 130)):
            raise FollowError(f"line {line}: {command} ended with {code}")
        self._running.remove((command, process))
        self._tell(line, "done", f"Ctrl-C to {command}: ended after {time.monotonic() - began:.1f} s")

    def _newest(self) -> int:
        version = self._ask("status", "--json").get("version")
        return -1 if version is None else int(version)

    def _ask(self, *arguments: str) -> dict[str, Any]:
        """Return what the gateway's command says as JSON; nothing while there is no state yet."""
        done = subprocess.run(
            ["broker_server", *arguments], cwd=self.folder, env=self._environment(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return dict(json.loads(done.stdout)) if done.stdout else {}

    def _wait(self, line: int, condition: Callable[[], object], log: Path | None = None) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            ended = [name for name, process in self._running if process.poll() is not None]
            if ended or time.monotonic() > end:
                told = [path.read_text(errors="replace")[-1500:] for path in ([log] if log else self._logs())]
                what = f"{ended[0]} ended" if ended else f"it did not come within {PATIENCE_S:.0f} s"
                raise FollowError(f"line {line}: {what}. " + "\n".join(told))
            time.sleep(POLL_S)

    def _logs(self) -> list[Path]:
        return sorted(self.folder.glob("*.log"))

    # the machine

    def _adapted(self, text: str) -> str:
        for name, here in self.instead.items():
            text = text.replace(name, here)
        return text

    def _environment(self) -> dict[str, str]:
        # An installation has to stand by itself: our programs bring their own path.
        ours = ("EDGE_RUNTIME_", "PYTHONPATH", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        paths = f"{self.folder / 'bin'}:{os.environ['PATH']}:/usr/sbin"
        return {**kept, "PATH": paths, "OMP_NUM_THREADS": "1"}

    def _make_programs(self) -> None:
        """Make the commands of this checkout's Python, and Python itself, as an installation has them."""
        (self.folder / "bin").mkdir(exist_ok=True)
        for program in (*PROGRAMS, "python"):
            path = self.folder / "bin" / program
            module = "" if program == "python" else f" -m {program}"
            path.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}"{module} "$@"\n')
            path.chmod(0o755)

    def _tell(self, line: int, what: str, text: str) -> None:
        self.outcomes.append(Outcome(line, what, text))
        self.tell(self.outcomes[-1])


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def follower(folder: Path, package: Path, data: Path, *, bare: bool = False) -> Follower:
    """Return who follows a document in an empty folder.

    Args:
        folder: empty.
        package: of a federation with labels, for devices that run on this machine.
        data: labelled texts, as CSV with a header; kitchen, hall and the held-out file get a third each.
        bare: install anew.
    """
    shutil.copytree(package, folder / "packages/pixel8")
    head, *rows = data.read_text(encoding="utf-8").splitlines(keepends=True)
    for place, name in enumerate(("kitchen", "hall", "heldout")):
        (folder / f"{name}.csv").write_text(head + "".join(rows[place::3]), encoding="utf-8")
    return empty_handed(folder, {}, bare=bare)


def empty_handed(folder: Path, instead: dict[str, str], *, bare: bool = False) -> Follower:
    """Return who follows a document that begins from nothing.

    Args:
        folder: empty.
        instead: what stands there in place of the document's words, beside names and ports.
        bare: install anew.
    """
    mqtt, page = free_ports(2)
    return Follower(
        folder, {"gateway.example": "localhost", "127.0.0.1:8700": f"127.0.0.1:{page}", **instead},
        # A round takes a second here: the versions of a day of real ones stay.
        f"[listen]\nport = {mqtt}\n[web]\nport = {page}\n[limits]\nkeep_versions = 1000\n", bare=bare,
    )  # fmt: skip
