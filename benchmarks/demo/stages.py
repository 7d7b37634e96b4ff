"""The demo's stages: prepare data, export, run the federation, train the arms it is compared with."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live

from benchmarks.demo import split
from benchmarks.demo.board import Row, table
from benchmarks.demo.processes import Child, ChildError, Jobs, Processes, Tail, finish, last_json, run_all
from benchmarks.demo.settings import PROFILES, Settings
from edge_runtime.wire.manifest import Package

WIDTH: Final = 2
"""Processes at a time where each would use a core."""
PATIENCE_S: Final = 900.0
"""A federation that shows no event for so long is stuck."""
PAGE_PORT: Final = 8700
"""Of the gateway's page; another where that is taken."""
CENTRALIZED: Final = "centralized"
EVALUATE: Final = "evaluate"
ALONE: Final = "alone-"
ALONE_RATE: Final = 0.5
"""Learning rate of the arms, as a share of the federation's: no mean over devices shortens their steps.

On validation texts of HWU64 the centralized bound ends, after 960 steps, at 92.3 % with 1e-3, 92.7 % with 2e-3 and
92.1 % with 4e-3; on held-out text of the demo at 87.7 % with 5e-4, 87.3 % with 1e-3 and 85.8 % with 2e-3.
"""


@dataclass(frozen=True)
class RunData:
    """The data of a run on disk. Args: shares: rows of each device by its name; test: held-out rows."""

    folder: Path
    shares: dict[str, list[split.Example]]
    test: list[split.Example]
    labels: list[str]

    def file(self, device: str) -> Path:
        """Return a device's training file; beside them stand ``pooled``, ``held-out``, and for export ``all``."""
        return self.folder / f"{device}.csv"


def prepare(settings: Settings) -> RunData:
    """Split the data and write one file for each device.

    Raises:
        DataError: when the data cannot be used.
    """
    rows = split.read(settings.data, settings.columns)
    train, test = split.held_out(settings.data, rows, settings.test, settings.seed)
    if any(row.user for row in train):
        shares = split.by_user(train, settings.devices)
    else:
        shares = split.dirichlet(train, settings.devices, settings.alpha, settings.seed)
    shares = split.thin(shares, settings.limit, settings.seed)
    labels = sorted({row.label for row in train})
    data = RunData(settings.out / "data", dict(zip(_names(shares), shares, strict=True)), test, labels)
    for name, share in data.shares.items():
        split.write(data.file(name), share)
    split.write(data.file("pooled"), [row for share in shares for row in share])
    split.write(data.file("held-out"), test)
    split.write(data.file("all"), train)
    return data


def _names(shares: Sequence[Sequence[split.Example]]) -> list[str]:
    """Return device names: the user's where a device has just one, else a number."""
    names = []
    for number, share in enumerate(shares):
        users = {row.user for row in share if row.user}
        plain = "".join(c if c.isalnum() and c.isascii() else "-" for c in next(iter(users), "")).strip("-")[:16]
        names.append(plain if len(users) == 1 and plain and plain not in names else f"device-{number + 1:02d}")
    return names


def export_packages(settings: Settings, data: RunData, processes: Processes, console: Console) -> dict[str, Package]:
    """Export one package for each profile; equal programs come from the cache.

    Raises:
        ChildError: when export fails.
    """
    common = ["--data", str(data.file("all")), "--tiers", "1", "--batch-size", str(settings.batch_size), "--json"]
    common += ["--seq-len", str(settings.seq_len)] if settings.seq_len else []
    folders = {profile: settings.out / "packages" / profile for profile in PROFILES}
    jobs = {
        f"export-{profile}": ["export.build", "--device", profile, *common, "--out", str(folder)]
        for profile, folder in folders.items()
    }
    with console.status("exporting ...") as status:
        run_all(
            processes,
            jobs,
            WIDTH,
            lambda busy, done: status.update(f"exporting: {len(done)} of {len(jobs)} done; {_list(busy)}"),
        )
    return {profile: Package.open(folder) for profile, folder in folders.items()}


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "-"


@dataclass
class Federation:
    """What a federation left.

    Args:
        rows: of the devices.
        state: the gateway's directory.
        page: address of the gateway's page, which is up while the gateway is.
    """

    rows: dict[str, Row]
    state: Path
    page: str


def assign(data: RunData, packages: Mapping[str, Package]) -> dict[str, str]:
    """Return each device's profile: in turn, so that every size is there."""
    profiles = list(packages)
    return {name: profiles[number % len(profiles)] for number, name in enumerate(data.shares)}


def federate(
    settings: Settings,
    data: RunData,
    packages: Mapping[str, Package],
    processes: Processes,
    console: Console,
    *,
    look: Callable[[Watcher], None] = lambda _: None,
) -> Federation:
    """Run the gateway and one process for each device until all rounds are done.

    Args:
        settings: of the run; with ``serve`` the gateway stays up.
        data: of the devices.
        packages: by profile.
        processes: of the run.
        console: to tell on.
        look: called with what is known, several times a second.

    Raises:
        ChildError: when one of them fails, or nothing happens for a long time.
    """
    profiles = assign(data, packages)
    rows = {name: Row(profile, packages[profile].manifest.tiers[0].trained_slots) for name, profile in profiles.items()}
    state, events = settings.out / "gateway", settings.out / "events"
    events.mkdir(parents=True, exist_ok=True)
    gateway = processes.start("gateway", _gateway_arguments(settings, data, packages, state, events / "gateway.jsonl"))
    watcher = Watcher(rows, {name: Tail(events / f"{name}.jsonl") for name in rows}, Tail(events / "gateway.jsonl"))

    def up() -> bool:
        look(watcher)
        return bool(watcher.url and watcher.page)

    _wait(up, watcher, [gateway], console)
    children = [gateway]
    for name, profile in profiles.items():
        arguments = ["edge_runtime", "run", "--package", str(packages[profile].folder), "--broker", watcher.url]
        arguments += ["--data", str(data.file(name)), "--device-id", name, "--threads", "1"]
        arguments += ["--federation", settings.federation]
        arguments += ["--state", str(settings.out / "devices" / name), "--events", str(events / f"{name}.jsonl")]
        children.append(processes.start(name, arguments))
    ends = children[1:] if settings.serve else children

    def done() -> bool:
        look(watcher)
        return all(child.process.poll() == 0 for child in ends)

    _wait(done, watcher, children, console)
    return Federation(rows, state, watcher.page)


def _gateway_arguments(
    settings: Settings, data: RunData, packages: Mapping[str, Package], state: Path, events: Path
) -> list[str]:
    serve = f'keep_serving = true\nevaluate = "{data.file("held-out").resolve()}"\n' if settings.serve else ""
    config = settings.out / "gateway.toml"
    config.write_text(
        f'package = "{packages[PROFILES[-1]].folder.resolve()}"\nstate = "{state.resolve()}"\n'
        f'federation = "{settings.federation}"\nrounds = {settings.rounds}\nevents = "{events.resolve()}"\n{serve}'
        f'[listen]\nhost = "127.0.0.1"\nport = 0\n'
        f"[web]\nport = {_free(PAGE_PORT)}\n"
        f"[round]\nquorum = {len(data.shares)}\ndeadline_s = 300.0\ntraining_s = {settings.training_s}\n"
        f"[train]\nsteps = {settings.steps}\nlearning_rate = {settings.rate}\nhead_share = {settings.head_share}\n"
        f'codec_down = "{settings.codec_down}"\n',
        encoding="utf-8",
    )
    return ["broker_server", "run", "--config", str(config)]


def _free(port: int) -> int:
    """Return a port of this machine that nobody listens on: this one if that is so."""
    for wanted in (port, 0):
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", wanted))
            return int(listener.getsockname()[1])
    raise ChildError("no free port on 127.0.0.1")


class Watcher:
    """Reads everybody's events. Args: rows: of the devices; tails: of their files; gateway: its file."""

    def __init__(self, rows: dict[str, Row], tails: Mapping[str, Tail], gateway: Tail) -> None:
        self.rows = rows
        self._tails, self._gateway = tails, gateway
        self.url = self.page = ""
        self.round = 0
        self.answered: set[str] = set()
        self.said: list[str] = []
        self.changed_at = time.monotonic()

    def look(self) -> None:
        """Take what came since the last look."""
        for name, tail in self._tails.items():
            for event in tail.read():
                self.changed_at = time.monotonic()
                self.rows[name].take(event)
        for event in self._gateway.read():
            self.changed_at = time.monotonic()
            self._take(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event.get("event")
        if kind == "listening":
            self.url = str(event["url"])
            self.said.append(f"gateway listens on {self.url}")
        elif kind == "page":
            self.page = str(event.get("url", event.get("failure")))
            self.said.append(f"its page, in a browser: {self.page}")
        elif kind == "round":
            self.round, self.answered = int(event["round"]), set()
        elif kind == "delta" and event["code"] == "ACCEPTED":
            self.answered.add(str(event["device"]))
        elif kind == "version":
            reason = f"round {event['round']}" if event.get("round") else "the head, from class means of all devices"
            self.said.append(f"version {event['version']}: {reason}")


def _wait(done: Callable[[], bool], watcher: Watcher, children: Sequence[Child], console: Console) -> None:
    """Show the table until ``done``; on a terminal it stays in place, elsewhere only news is printed."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            finished = done()
            watcher.look()
            for line in watcher.said:
                console.print(line, highlight=False)
            watcher.said.clear()
            if console.is_terminal:
                live.update(table(watcher.rows, ""), refresh=True)
            if finished:
                return
            failed = [child for child in children if child.failed()]
            if failed:
                raise ChildError(failed[0].why())
            if time.monotonic() - watcher.changed_at > PATIENCE_S:
                msg = f"nothing happened for {PATIENCE_S:.0f} s; see the logs beside {children[0].log}"
                raise ChildError(msg)
            time.sleep(0.2)


def evaluate(data: RunData, packages: Mapping[str, Package], state: Path, processes: Processes) -> Any:  # noqa: ANN401 - JSON
    """Return the accuracy of every version on held-out text, as the gateway measures it."""
    run_all(processes, {EVALUATE: _evaluation(data, packages, state)}, 1, lambda _busy, _done: None)
    return _evaluated(processes)


def _evaluation(data: RunData, packages: Mapping[str, Package], state: Path) -> list[str]:
    arguments = ["broker_server", "evaluate", "--state", str(state), "--package", str(packages[PROFILES[-1]].folder)]
    return [*arguments, "--data", str(data.file("held-out")), "--version", "all", "--json"]


def _evaluated(processes: Processes) -> Any:  # noqa: ANN401 - JSON
    return json.loads((processes.folder / f"{EVALUATE}.out").read_text(encoding="utf-8"))


def devices_alone(data: RunData, packages: Mapping[str, Package], processes: Processes, settings: Settings) -> Jobs:
    """Return jobs that train every device alone: the federation's steps, on its own data."""
    steps = settings.rounds * settings.steps
    jobs = {
        f"{ALONE}{name}": _train(settings, data, packages[profile], name, steps)
        for name, profile in assign(data, packages).items()
    }
    return Jobs(processes, jobs)


@dataclass(frozen=True)
class Compared:
    """What there is to compare. Args: arms: what `edge_runtime train` printed, by name; versions: their accuracy."""

    arms: dict[str, dict[str, Any]]
    versions: Sequence[dict[str, Any]]


def compare(
    settings: Settings,
    data: RunData,
    packages: Mapping[str, Package],
    processes: Processes,
    console: Console,
    *,
    alone: Jobs,
    state: Path,
) -> Compared:
    """Train the centralized bound, measure every version, and bring the devices alone to their end.

    Args:
        settings: of the run.
        data: of the run.
        packages: by profile.
        processes: of the run.
        console: to tell on.
        alone: from ``devices_alone``.
        state: the gateway's directory.

    Raises:
        ChildError: when one fails.
    """
    largest = max(packages, key=lambda name: packages[name].manifest.tiers[0].trained_slots)
    pooled = _train(settings, data, packages[largest], "pooled", settings.pooled_steps)
    # A core each: two threads of ONNX Runtime that wait for each other take twice the time of one, and the other core.
    alone.put_first({CENTRALIZED: pooled, EVALUATE: [*_evaluation(data, packages, state), "--threads", "1"]})
    with console.status("") as status:
        finish(
            alone,
            WIDTH,
            lambda busy, done: status.update(f"the arms to compare with: {len(done)} are done; {_list(busy)}"),
        )
    names = [CENTRALIZED, *(f"{ALONE}{name}" for name in data.shares)]
    arms = {name.removeprefix(ALONE): last_json(processes.folder / f"{name}.out") for name in names}
    return Compared(arms, _evaluated(processes))


def _train(settings: Settings, data: RunData, package: Package, share: str, steps: int) -> list[str]:
    tier, rate = package.manifest.tiers[0], ALONE_RATE * settings.rate
    arguments = ["edge_runtime", "train", "--package", str(package.folder), "--data", str(data.file(share))]
    arguments += ["--test", str(data.file("held-out")), "--steps", str(steps), "--threads", "1", "--experts", "all"]
    arguments += ["--lr", str(rate), "--head-lr", str(settings.head_share * rate)]
    if tier.trained_slots < package.manifest.architecture.experts:
        # All experts get their turn, as the federation's plans give them over the rounds. Where all are trained at
        # once there is one stretch: moments that begin anew every few steps would weaken the arm.
        arguments += ["--rotate-every", str(settings.steps)]
    return [*arguments, "--seed", str(settings.seed), "--json"]
