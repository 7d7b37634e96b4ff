"""A gateway with an embedded broker and devices, each a process: until its rounds are done, or for so many seconds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.attacks.strangers import Crowd, Target
from benchmarks.demo import stages
from benchmarks.demo.processes import Child, ChildError, Processes, Tail
from benchmarks.demo.settings import PROFILES, Settings
from edge_runtime.wire.manifest import Package

FEDERATION: Final = "attacked"
LIAR: Final = "benchmarks.attacks.liar"
PATIENCE_S: Final = 600.0
PATIENT: Final = ("join_wait_s = 10.0", "deadline_s = 30.0")
"""Lines of [round]: all devices start together, and a refused liar costs an undefended round half a minute."""


@dataclass(frozen=True)
class Ground:
    """What all runs share.

    Args:
        settings: of the demo.
        data: of the devices.
        packages: by profile.
        before: checkout of an undefended gateway.
        limits: lines of [limits] of a defended one.
    """

    settings: Settings
    data: stages.RunData
    packages: Mapping[str, Package]
    before: Path | None = None
    limits: Sequence[str] = ()

    @property
    def devices(self) -> list[str]:
        """The devices' names."""
        return list(self.data.shares)


@dataclass(frozen=True)
class Setup:
    """One run.

    Args:
        name: of its folder.
        devices: how many of the ground's devices take part.
        rounds: 0: no end.
        lies: lie by device.
        config: lines of gateway.toml by table; lines of "" stand before the tables.
        before: whether the gateway is that of ``Ground.before``.
        secure: over TLS, with a certificate for each device.
    """

    name: str
    devices: int
    rounds: int = 0
    lies: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Sequence[str]] = field(default_factory=dict)
    before: bool = False
    secure: bool = False


class Run:
    """A gateway and its devices, running. Args: ground; setup; processes: that they are started in."""

    def __init__(self, ground: Ground, setup: Setup, processes: Processes) -> None:
        self._ground, self._setup, self._processes = ground, setup, processes
        self._folder = (ground.settings.out / "runs" / setup.name).resolve()
        self._folder.mkdir(parents=True)
        self.state = self._folder / "gateway"
        self.names = ground.devices[: setup.devices]
        self._checkout = ground.before if setup.before else None
        self.gateway = processes.start(
            f"{setup.name}-gateway", ["broker_server", "run", "--config", str(self._config())], folder=self._checkout
        )
        self._tail = Tail(self._folder / "events.jsonl")
        self.events: list[dict[str, Any]] = []
        self.children: dict[str, Child] = {}
        self.url = str(self.wait("listening")["url"])

    def own(self, *arguments: str) -> None:
        """Run a command of the gateway's.

        Raises:
            ChildError: when it fails.
        """
        done = subprocess.run(
            [sys.executable, "-m", "broker_server", *arguments],
            cwd=self._checkout,
            env=os.environ | ({"PYTHONPATH": str(self._checkout)} if self._checkout is not None else {}),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ChildError(done.stderr.strip() or f"broker_server {arguments[0]} failed")

    def _config(self) -> Path:
        settings, setup = self._ground.settings, self._setup
        package = self._ground.packages[PROFILES[-1]].folder.resolve()
        honest = setup.devices - len(setup.lies)
        tables: dict[str, list[str]] = {
            "": [f'package = "{package}"', f'state = "{self.state}"', f'federation = "{FEDERATION}"',
                 f"rounds = {setup.rounds}", f'events = "{self._folder / "events.jsonl"}"'],
            "listen": ['host = "127.0.0.1"', "port = 0"],
            "round": [] if "round" in setup.config else [f"quorum = {honest}", *PATIENT],
            "train": [f"steps = {settings.steps}", f"learning_rate = {settings.rate}"],
        }  # fmt: skip
        for table, lines in setup.config.items():
            tables.setdefault(table, []).extend(lines)
        if setup.secure:
            self.own("init", str(self._folder / "secure"), "--host", "127.0.0.1", "--federation", FEDERATION,
                      "--package", str(package))  # fmt: skip
            folder = self._folder / "secure"
            written = tomllib.loads((folder / "gateway.toml").read_text(encoding="utf-8"))
            tables[""].append(f'signing_key = "{folder / written["signing_key"]}"')
            files = ("ca", "certificate", "key", "revoked")
            tables["listen"] = ['host = "127.0.0.1"', f"port = {_free_port()}"]
            tables["listen"] += [f'{name} = "{folder / written["listen"][name]}"' for name in files]
        path = self._folder / "gateway.toml"
        text = [line for name, lines in tables.items() for line in ([f"[{name}]"] if name else []) + lines]
        path.write_text("\n".join(text) + "\n", encoding="utf-8")
        return path

    @property
    def target(self) -> Target:
        """What strangers attack."""
        ca = self._folder / "secure" / "identity" / "authority.pem" if self._setup.secure else None
        return Target(self.url, FEDERATION, self._ground.packages[PROFILES[-1]], ca)

    def join(self, *names: str) -> None:
        """Start devices; those that have a lie lie."""
        profiles = stages.assign(self._ground.data, self._ground.packages)
        for name in names:
            package = self._ground.packages[profiles[name]].folder
            arguments = ["run", "--package", str(package), "--data", str(self._ground.data.file(name))]
            arguments += ["--threads", "1", "--state", str(self._folder / name), "--json", *self._way(name)]
            lie = self._setup.lies.get(name)
            module = [LIAR, lie] if lie else ["edge_runtime"]
            self.children[name] = self._processes.start(f"{self._setup.name}-{name}", [*module, *arguments])

    def _way(self, name: str) -> list[str]:
        """Return the arguments that lead a device to the gateway."""
        if not self._setup.secure:
            return ["--broker", self.url, "--device-id", name, "--federation", FEDERATION]
        file = self._folder / f"{name}.enrolment.json"
        self.own("enroll", name, "--config", str(self._folder / "gateway.toml"), "--any-package", "--no-qr",
                  "--out", str(file))  # fmt: skip
        return ["--enrolment", str(file)]

    def wait(self, kind: str, until: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """Return the next event of the gateway of a kind, and with what is asked for.

        Raises:
            ChildError: when the gateway or a device fails, or nothing of the kind comes for a long time.
        """
        begin = time.monotonic()
        while time.monotonic() - begin < PATIENCE_S:
            for event in self._tail.read():
                self.events.append(event)
                if event["event"] == kind and until(event):
                    return event
            self._look_after()
            time.sleep(0.05)
        msg = f"no event {kind} came for {PATIENCE_S:.0f} s; see {self.gateway.log}"
        raise ChildError(msg)

    def watch(self, seconds: float) -> list[dict[str, Any]]:
        """Return the gateway's events of so many seconds."""
        until, events = time.monotonic() + seconds, []
        while time.monotonic() < until:
            events += list(self._tail.read())
            self._look_after()
            time.sleep(0.1)
        return events

    def _look_after(self) -> None:
        for child in (self.gateway, *self.children.values()):
            if child.failed():
                raise ChildError(child.why())

    def finish(self, but: str = "") -> None:
        """Wait until all rounds are done and everybody left; a device that is expelled may fail."""
        begin = time.monotonic()
        self.children.pop(but, None)
        while any(child.process.poll() is None for child in (self.gateway, *self.children.values())):
            self._look_after()
            if time.monotonic() - begin > PATIENCE_S:
                msg = f"the rounds of {self._setup.name} did not end in {PATIENCE_S:.0f} s; see {self.gateway.log}"
                raise ChildError(msg)
            time.sleep(0.2)

    def accuracy(self) -> float:
        """Return the accuracy of the newest version on held-out text."""
        name = f"{self._setup.name}-evaluate"
        package = self._ground.packages[PROFILES[-1]].folder.resolve()
        child = self._processes.start(
            name,
            ["broker_server", "evaluate", "--state", str(self.state), "--package", str(package), "--json", "--data",
             str(self._ground.data.file("held-out").resolve())],
            folder=self._checkout,
        )  # fmt: skip
        if child.process.wait() != 0:
            raise ChildError(child.why())
        rows = json.loads(child.output.read_text(encoding="utf-8"))
        return float(rows[-1]["accuracy"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(ground: Ground, setup: Setup) -> Iterator[Run]:
    """Start a gateway; stop it and its devices in the end."""
    with Processes(ground.settings.out / "logs") as processes:
        yield Run(ground, setup, processes)


def rounds_per_minute(ground: Ground, setup: Setup, crowd: Callable[[Target], Crowd], seconds: float) -> float:
    """Return how many rounds a minute a federation merges while strangers are there from the start."""
    with running(ground, setup) as run, crowd(run.target):
        run.join(*run.names)
        run.wait("hello", lambda event: event["device"] == run.names[0] and not event.get("code"))
        merged = [event for event in run.watch(seconds) if event["event"] == "version" and event["reason"] == "merge"]
        return len(merged) * 60.0 / seconds
