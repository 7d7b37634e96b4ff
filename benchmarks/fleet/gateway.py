"""The gateway: `broker_server run` in a process of its own, with its state on the disk."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from benchmarks.fleet import usage
from benchmarks.fleet.load import FEDERATION, PATIENCE_S, Load
from edge_runtime.wire.errors import FederationError

LAUNCHER: Final = Path(__file__).with_name("named_threads.py")
ROOT: Final = Path(__file__).parent.parent.parent
NEVER_S: Final = 100_000.0


class GatewayError(FederationError):
    """The gateway did not start, or ended; the message says where its log is."""


class Gateway:
    """A running gateway; leaving the context stops it. Args: load: of the run; package: folder of the package."""

    def __init__(self, load: Load, package: Path) -> None:
        self._load = load
        self.state, self.port = (load.out / "gateway").resolve(), free_port()
        self._log = load.out / "gateway.log"
        config = load.out / "gateway.toml"
        config.write_text(configuration(load, package.resolve(), self.state, self.port), encoding="utf-8")
        tree = (load.tree or ROOT).resolve()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(LAUNCHER), "broker_server", "run", "--config", str(config.resolve())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=tree, start_new_session=True,
                env=os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        self._mosquitto = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Number of the gateway's process."""
        return self.process.pid

    def wait(self) -> None:
        """Wait until devices can connect.

        Raises:
            GatewayError: when it ended, or does not listen in a long time.
        """
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            self.check()
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
                named = {pid for pid, name in usage.children(self.pid).items() if name == "mosquitto"}
                self._mosquitto = next(iter(named), 0)
                return
            time.sleep(0.1)
        msg = f"the gateway does not listen on port {self.port}; see {self._log}"
        raise GatewayError(msg)

    def check(self) -> None:
        """Do nothing.

        Raises:
            GatewayError: when it ended.
        """
        if self.process.poll() is not None:
            lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"]
            msg = f"the gateway ended with status {self.process.poll()}: {lines[-1][:300]} (see {self._log})"
            raise GatewayError(msg)

    def rss_mib(self) -> float:
        """Return the resident memory of the gateway's own process."""
        return usage.rss_mib(self.pid)

    def cpu_s(self) -> dict[str, float]:
        """Return processor seconds by thread; those of Mosquitto are one entry."""
        seconds = usage.cpu_s(self.pid)
        if self._mosquitto:
            seconds["mosquitto"] = sum(usage.cpu_s(self._mosquitto).values())
        return seconds

    def stop(self) -> float:
        """Ask it to end, then make it; return the seconds that took."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return time.monotonic() - began


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configuration(load: Load, package: Path, state: Path, port: int) -> str:
    """Return the gateway's settings: its limits of strangers are out of the way, all devices here being one address."""
    room = load.devices + 64
    lines = [
        f'package = "{package}"', f'state = "{state}"', f'federation = "{FEDERATION}"',
        f'broker = "{"" if load.broker == "embedded" else load.broker}"',
        "[listen]", 'host = "127.0.0.1"', f"port = {port}", f"connections = {room}",
        f"connections_per_address = {room}", f"handshakes = {room}", f"handshakes_per_address = {room}",
        "connect_s = 60.0", "hellos_per_s = 20.0",
        "[round]", f"quorum = {max(1, load.devices * 9 // 10)}", f"deadline_s = {NEVER_S}",
        f"join_wait_s = {min(10.0, load.devices / 50)}",
        f"newcomer_wait_s = {NEVER_S}", "missed_plans = 0",
        "[train]", "steps = 10", "learning_rate = 0.004", "final_share = 1.0", "shared_share = 0.0", 'codec = "int8"',
        "[limits]", "new_names_per_hour = 0", "hellos_per_minute = 0", f"idle_names = {2 * room}",
        "retry_after_s = 2.0", "keep_versions = 1000",
    ]  # fmt: skip
    return "\n".join([*lines, *load.limits]) + "\n"
