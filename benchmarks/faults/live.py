"""The real parts over real sockets: ``broker_server run`` with its broker, two devices with their links and timers.

The devices' program is the test suite's, of numpy; everything else is what people run, signatures included. Processes
are forked from one that has all imports, and started again by whoever watches, as a service manager does.
"""

from __future__ import annotations

import queue
import random
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.faults import proxy, shim
from benchmarks.faults.children import Child, Ended, Say, run_many, start
from benchmarks.faults.gateway_story import outcome
from benchmarks.faults.suite import part
from benchmarks.faults.tally import Injection
from broker_server import cli
from broker_server.state.store import Store as GatewayStore
from edge_runtime.commands.telling import EventLines
from edge_runtime.data.examples import open_source
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.federation.config import RunConfig
from edge_runtime.federation.device import Device
from edge_runtime.federation.link import Broker, LinkEvent, Mqtt
from edge_runtime.federation.membership import Identity
from edge_runtime.federation.mqtt.link import MqttLink
from edge_runtime.federation.report import Report
from edge_runtime.federation.versions import Versions
from edge_runtime.federation.work import Work
from edge_runtime.inference.class_sums import class_sums
from edge_runtime.store import Store
from edge_runtime.training.trainer import Tools
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.signatures import SigningKey

NAMES: Final = ("ada", "bo")
ROUNDS: Final = 2
RUN_S: Final = 170
PARALLEL: Final = 6
CLOCK_JUMPS: Final = (30 * 86400.0, -400 * 86400.0, 3600.0, -3600.0)


@dataclass(frozen=True)
class Harm:
    """What goes wrong in a run.

    Args:
        where, fault: for people.
        gateway: of the gateway's calls at its first start, at its second, and so on.
        device: of one device's, likewise.
        network: kind of harm on the way.
        clock: seconds by which the gateway's wall clock jumps.
        seed: of what the network does.
    """

    where: str
    fault: str
    gateway: tuple[shim.Fault, ...] = ()
    device: tuple[shim.Fault, ...] = ()
    network: str = ""
    clock: float = 0.0
    seed: int = 0


class Live:
    """One run after another in folders below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        toy = part("toy", "edge")
        self._package = toy.write_package(folder / "package")
        for place, name in enumerate(NAMES):
            toy.write_data(folder / f"{name}.csv", 12 + 6 * place)
        self._key_file = folder / "signing.pem"
        self._key = SigningKey.create(self._key_file).public
        self._count = 0

    def work(self, harm: Harm) -> Callable[[Say], int]:
        """Return the work of one run, for a process of its own."""
        self._count += 1
        folder = self._folder / f"run{self._count}"
        return lambda say: self._run(harm, folder, say)

    def _run(self, harm: Harm, folder: Path, say: Say) -> int:
        folder.mkdir()
        port = _free_port()
        gateway = _Kept(partial(self._gateway, folder, port, harm))
        gateway.look()
        way, bad = port, None
        if harm.network:
            way, bad = _bad_network(port, harm, folder)
        devices = {name: _Kept(partial(self._device, folder, name, way, harm)) for name in NAMES}
        began, down_at, back_ms = time.monotonic(), 0.0, None
        try:
            while not gateway.done and time.monotonic() - began < RUN_S - 10:
                if gateway.look():
                    down_at = time.monotonic()
                if down_at and _answers(port):
                    back_ms, down_at = 1000 * (time.monotonic() - down_at), 0.0
                for kept in devices.values():
                    kept.look()
                time.sleep(0.02)
        finally:
            for kept in (gateway, *devices.values()):
                kept.end()
            if bad is not None:
                bad.kill()
        hits = len((folder / "hits").read_bytes()) if (folder / "hits").exists() else 0
        starts = {"gateway": gateway.starts, **{name: kept.starts for name, kept in devices.items()}}
        said = outcome(GatewayStore.open_read_only(folder / "state")) if gateway.done else _last_words(folder)
        say(hits=hits, starts=starts, back_ms=back_ms, seconds=time.monotonic() - began, **said)
        shutil.rmtree(folder, ignore_errors=True)
        return 0

    def _gateway(self, folder: Path, port: int, harm: Harm, nth: int) -> Child:
        words = [
            "run", "--package", str(self._package.folder), "--state", str(folder / "state"), "--port", str(port),
            "--rounds", str(ROUNDS), "--quorum", str(len(NAMES)), "--deadline", "10", "--join-wait", "0.2",
            "--linger", "3", "--signing-key", str(self._key_file), "--events", str(folder / "events.jsonl"),
        ]  # fmt: skip

        def work(_: Say) -> int:
            shim.arm(folder / "state", harm.gateway[nth] if nth < len(harm.gateway) else None)
            if harm.clock and nth == 0:
                shim.move_clock(harm.clock, harm.seed % 400)
            return cli.run(words)

        return start(work, RUN_S)

    def _device(self, folder: Path, name: str, port: int, harm: Harm, nth: int) -> Child:
        def work(_: Say) -> int:
            faults = harm.device if name == NAMES[0] else ()
            shim.arm(folder / name, faults[nth] if nth < len(faults) else None)
            config = RunConfig(name, checkpoint_s=0.05, gateway_key=self._key)
            _device(self._package, self._folder / f"{name}.csv", folder / name, config, port)
            return 0

        return start(work, RUN_S)


class _Kept:
    """A process that is started again when it ends with anything but 0. Args: make: starts the nth."""

    def __init__(self, make: Callable[[int], Child]) -> None:
        self._make = make
        self._child: Child | None = make(0)
        self.starts, self.done = 1, False
        self._again_at = 0.0

    def look(self) -> bool:
        """Start it again when it ended; return whether it ended just now."""
        if self._child is None:
            if not self.done and time.monotonic() >= self._again_at:
                self._child = self._make(self.starts)
                self.starts += 1
            return False
        code = self._child.ended()
        if code is None:
            return False
        self._child, self.done = None, code == 0
        self._again_at = time.monotonic() + 0.1
        return not self.done

    def end(self) -> None:
        """End it if it runs."""
        if self._child is not None:
            self._child.kill()


def _device(package: Any, data: Path, folder: Path, config: RunConfig, port: int) -> None:  # noqa: ANN401 - a Package
    toy, name = part("toy", "edge"), config.device
    source, tokenizer = open_source(data, toy.LABELS), Tokenizer(package.path("tokenizer.json"))
    program = toy.ToyProgram()
    with Store(folder) as store, EventLines(folder.with_name(f"{name}-events.jsonl")) as events:
        report = Report(name, events)
        tools = Tools(program, package.manifest, tokenizer, source, toy.TIERS[1], time.monotonic)
        sums = class_sums(program, package.manifest, tokenizer, source, lambda _: None)
        inbox: queue.Queue[LinkEvent] = queue.Queue()
        will = messages.encode(pb.Bye(device=name))
        link = MqttLink(Broker.parse(f"mqtt://127.0.0.1:{port}"), "default", name, will, inbox.put, mqtt=Mqtt.V3)
        report.traffic = link.traffic
        work = Work(store, Versions(store, package), name, tools=tools)
        Device(config, work, Identity(package.digest, sums), link, inbox, report=report).run()


def _bad_network(port: int, harm: Harm, folder: Path) -> tuple[int, Child]:
    """Start a proxy; return its port. It writes one byte into the file ``hits`` at each harm."""
    every = 40 if harm.network == "partition" else 12
    hits = (folder / "hits").open("ab", buffering=0)

    def note() -> None:
        hits.write(b".")

    between = proxy.Proxy(port, harm.network, every, random.Random(harm.seed), note)  # noqa: S311

    def work(_: Say) -> int:
        between.serve()
        return 0

    return between.port, start(work, RUN_S)


def _last_words(folder: Path) -> dict[str, Any]:
    """Return what gateway and devices told last, of a run that did not end."""
    files = sorted(folder.glob("*events.jsonl"))
    return {"stuck": {path.name: path.read_text().splitlines()[-6:] for path in files}}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


def harms(chance: random.Random, count: int) -> Iterator[Harm]:
    """Yield what goes wrong in each of ``count`` runs: every kind in turn."""
    kinds = ["gateway", "device", "disk", "clock", *proxy.KINDS]
    for number in range(count):
        kind = kinds[number % len(kinds)]
        if kind == "gateway":
            faults = tuple(shim.fault("kill -9", chance.randrange(600)) for _ in range(3))
            yield Harm("live, gateway", "kill -9, three starts in a row", gateway=faults)
        elif kind == "device":
            faults = tuple(shim.fault("kill -9", chance.randrange(150)) for _ in range(3))
            yield Harm("live, device", "kill -9, three starts in a row", device=faults)
        elif kind == "disk":
            name = chance.choice(["I/O error", "full disk", "read-only disk"])
            yield Harm("live, gateway", name, gateway=(shim.fault(name, chance.randrange(600)),))
        elif kind == "clock":
            jump = chance.choice(CLOCK_JUMPS)
            yield Harm("live, gateway", "clock jump", clock=jump, seed=chance.randrange(400))
        else:
            yield Harm("live, network", kind, network=kind, seed=chance.randrange(1 << 30))


def live(folder: Path, chance: random.Random, count: int) -> Iterator[tuple[str, str, Injection]]:
    """Yield (place, fault, what came of it) of ``count`` runs; a run's outcome stands with its first fault."""
    runs = Live(folder)
    undisturbed = next(run_many([runs.work(Harm("", ""))], 1, RUN_S)).told[-1]
    chosen = list(harms(chance, count))
    for harm, ended in zip(chosen, run_many(map(runs.work, chosen), PARALLEL, RUN_S), strict=True):
        for injection in _injections(harm, ended, undisturbed):
            yield harm.where, harm.fault, injection


def _injections(harm: Harm, ended: Ended, undisturbed: dict[str, Any]) -> Iterator[Injection]:
    last: dict[str, Any] = ended.told[-1] if ended.told else {"crash": f"code {ended.code}"}
    if "digest" not in last:
        yield Injection(identical=False, wrong=str(last)[:300])
        return
    starts = last["starts"]
    killed = starts["gateway"] - 1 if harm.gateway else starts[NAMES[0]] - 1
    number = last["hits"] if harm.network else killed if "kill" in harm.fault else 1
    wanted = len(NAMES) * ROUNDS
    lost, double = max(0, wanted - len(last["folded"])), max(0, len(last["folded"]) - wanted)
    same = last["digest"] == undisturbed["digest"]
    wrong = "" if same and not lost and not double else f"{last}"[:300]
    for nth in range(number):
        first = nth == 0
        yield Injection(lost * first, double * first, same, recover_ms=last["back_ms"] if first else None, wrong=wrong)
