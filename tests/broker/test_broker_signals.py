"""A gateway's process under signals: it ends in time whatever hangs, reads its settings again, and can be watched."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from authority import Authority
from broker_client import Client

from broker_server.broker import mosquitto
from broker_server.cli import run
from broker_server.state.gateway_facts import GatewayFacts
from broker_server.state.ledger import NAME, Ledger
from broker_server.state.store import Store
from broker_server.views.reading import reading
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.broker_url import BrokerUrl
from edge_runtime.wire.chunks import split

# Two seconds, of a machine that has nothing else to do than this suite.
END_S = 2.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1) / 2)
PLAIN = {"port": "0", "host": '"127.0.0.1"'}


class Gateway:
    """``broker_server run`` with settings in a file. Args: listen: of the table [listen], as TOML has them."""

    def __init__(self, folder: Path, listen: dict[str, str] = PLAIN, **top: str) -> None:
        self.config, self.state = folder / "gateway.toml", folder / "state"
        self.write(listen, **top)
        command = [sys.executable, "-m", "broker_server", "run", "--config", str(self.config), "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.url = BrokerUrl.parse(self.wait_for("listening")["url"], allow_plaintext=True)
        self.wait_for("up")

    def write(self, listen: dict[str, str], **top: str) -> None:
        """Write the settings."""
        head = {"package": f'"{self.config.parent}/package"', "state": f'"{self.state}"', "federation": '"x"', **top}
        lines = [f"{key} = {value}" for key, value in head.items()]
        lines += ["[listen]", *(f"{key} = {value}" for key, value in listen.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def wait_for(self, kind: str) -> dict[str, Any]:
        """Return the next event of a kind."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == kind:
                return event
        pytest.fail(f"no {kind} came: {self.process.communicate()[1][-2000:]}")

    def ends(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Send a signal; return the seconds until the process ended, which it did with 0."""
        threading.Thread(target=lambda: list(self.process.stdout or ()), daemon=True).start()
        began = time.monotonic()
        self.process.send_signal(number)
        assert self.process.wait(30) == 0
        return time.monotonic() - began

    def close(self) -> None:
        """Make sure that nothing is left."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


@pytest.fixture
def gateway(tmp_path: Path, package: Any) -> Iterator[Gateway]:
    """Run a gateway with an embedded broker."""
    assert package
    running = Gateway(tmp_path)
    yield running
    running.close()


def uploads(gateway: Gateway, name: str) -> Client:
    """Return a device that sends pieces of a delta faster than anybody takes them."""
    device = Client(gateway.url, name).up()
    chunks = list(split(secrets.token_bytes(30_000_000), pb.DELTA))
    for chunk in chunks:
        device.paho.publish(f"fl/v1/x/delta/{name}", chunk, 1)
    return device


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_gateway_ends_in_two_seconds_during_an_upload(gateway: Gateway, package: Any, number: signal.Signals) -> None:
    """Three devices send, one of which reads nothing any more; the state is whole and free."""
    devices = [uploads(gateway, name) for name in "abc"]
    devices[0].paho.loop_stop()
    assert gateway.ends(number) < END_S
    Store.open(gateway.state, package, 0.0).close()
    for device in devices:
        device.stop()


@pytest.mark.skipif(mosquitto.installed() is None, reason="mosquitto is not installed; make broker-tools installs it")
def test_a_gateway_ends_in_two_seconds_when_its_broker_hangs(tmp_path: Path, package: Any) -> None:
    """A broker that is stopped takes nothing and closes nothing."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "hangs.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    program = mosquitto.installed() or ""
    with subprocess.Popen([program, "-c", tmp_path / "hangs.conf"], stderr=subprocess.DEVNULL) as broker:
        gateway = Gateway(tmp_path, PLAIN, broker=f'"mqtt://127.0.0.1:{port}"')
        assert "lets strangers in" in gateway.wait_for("broker")["detail"]
        device = Client(BrokerUrl("127.0.0.1", port), "a").up()
        broker.send_signal(signal.SIGSTOP)
        assert gateway.ends() < END_S
        broker.kill()
    device.stop()
    Store.open(gateway.state, package, 0.0).close()
    gateway.close()


def test_work_that_cannot_be_interrupted_does_not_hold_the_end_up(tmp_path: Path, package: Any) -> None:
    """A merge that takes for ever is given up; the process says so and ends with 0.

    Its thread is held here, without a look at signals, as in a library's call that does not come back.
    """
    assert package
    held = (
        "import signal, time\n"
        "from broker_server.rounds.conductor import Conductor\n"
        "def tick(*_):\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
        "Conductor.tick = tick\n"
        "from broker_server.__main__ import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", held, "run", "--package", f"{tmp_path}/package", "--state", f"{tmp_path}/state"]
    with subprocess.Popen(
        [*command, "--port", "0", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any(line == "held\n" for line in process.stdout)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert time.monotonic() - began < END_S
    assert (process.returncode, errors) == (
        0, "broker_server: ended in the middle of its work; the next start goes on from there\n"
    )  # fmt: skip


def test_a_hangup_reads_limits_again_and_says_what_waits(gateway: Gateway) -> None:
    """Limits change at once; a port cannot, which is told; settings that are none change nothing; it goes on."""
    gateway.write({"port": "7", "host": '"127.0.0.1"', "connections": "1"})
    gateway.process.send_signal(signal.SIGHUP)
    event = gateway.wait_for("reload")
    assert (event["changed"], event["later"]) == (["listen.connections"], ["listen.port"])
    first = Client(gateway.url, "a").up()
    second = Client(gateway.url, "b")
    second.wait(lambda: second.refused)
    gateway.config.write_text("[listen\n")
    gateway.process.send_signal(signal.SIGHUP)
    assert "is not TOML" in gateway.wait_for("reload")["failure"]
    assert first.subscribe("fl/v1/x/plan/a") == [True]
    assert gateway.ends() < END_S
    first.stop()


@pytest.mark.parametrize("broker", ["", "mosquitto"])
def test_a_hangup_reads_certificates_again(tmp_path: Path, package: Any, broker: str) -> None:
    """A new certificate under the same name is shown to the next client; one that is none leaves the old in use."""
    if broker and mosquitto.installed() is None:
        pytest.skip("mosquitto is not installed; make broker-tools installs it")
    assert package
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.sign("gateway")
    listen = {**PLAIN, "ca": f'"{authority.ca}"', "certificate": f'"{certificate}"', "key": f'"{key}"'}
    gateway = Gateway(tmp_path, listen, broker=f'"{broker}"')
    before = shown(gateway.url.port)
    authority.sign("gateway")  # over the old files
    gateway.process.send_signal(signal.SIGHUP)
    assert "failure" not in gateway.wait_for("reload")
    deadline = time.monotonic() + 10
    while shown(gateway.url.port) == before:
        assert time.monotonic() < deadline
    assert gateway.process.poll() is None
    if not broker:
        after = shown(gateway.url.port)
        certificate.write_text("none")
        gateway.process.send_signal(signal.SIGHUP)
        assert "cannot use certificate" in gateway.wait_for("reload")["failure"]
        assert shown(gateway.url.port) == after
    assert gateway.ends() < END_S
    gateway.close()


def shown(port: int) -> str:
    """Return the certificate that a server shows."""
    return ssl.get_server_certificate(("127.0.0.1", port))


def status(state: Path) -> tuple[int, str, dict[str, Any]]:
    """Return exit code and text of ``broker_server status``, and its JSON."""
    command = [sys.executable, "-m", "broker_server", "status", "--state", str(state)]
    text = subprocess.run(command, capture_output=True, text=True, check=False)
    as_json = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert as_json.returncode == text.returncode
    return text.returncode, text.stdout, json.loads(as_json.stdout)


def test_status_tells_a_dead_gateway_by_its_exit_code(gateway: Gateway) -> None:
    """0 while it runs; 1 after a kill, with since when; 1 for one that holds its state and is silent."""
    code, text, tree = status(gateway.state)
    assert (code, tree["running"]) == (0, True)
    assert text.startswith("gateway    running for ")
    gateway.process.send_signal(signal.SIGSTOP)
    os.utime(gateway.state / "lock", (0, 0))
    code, text, tree = status(gateway.state)
    assert (code, tree["running"]) == (1, True)
    assert text.startswith("gateway    stuck since 1970-01-01T00:00:00Z")
    gateway.process.kill()
    gateway.process.wait(10)
    os.utime(gateway.state / "lock", (1_800_000_000, 1_800_000_000))
    code, text, tree = status(gateway.state)
    assert (code, tree["running"], tree["alive"]) == (1, False, "2027-01-15T08:00:00Z")
    assert text.startswith("gateway    not running since 2027-01-15T08:00:00Z (0 s ago), state ")


def test_health_looks_at_the_gateway_and_at_its_broker(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """0 while both answer; 1 when the gateway is silent, and when nobody listens where devices connect."""
    health = ["health", "--json", "--state", str(gateway.state)]
    assert run(health) == 0
    assert json.loads(capsys.readouterr().out) == {"healthy": True, "gateway": "running", "wrong": ""}
    with reading(gateway.state) as ledger:
        facts = GatewayFacts.read(ledger)
    assert facts is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"mqtt://127.0.0.1:{free.getsockname()[1]}"
    ledger = Ledger(gateway.state / NAME)
    replace(facts, url=nobody).keep(ledger)
    ledger.close()
    assert run(health) == 1
    assert json.loads(capsys.readouterr().out)["wrong"] == f"the broker {nobody} cannot be reached: Connection refused"
    gateway.process.send_signal(signal.SIGSTOP)
    os.utime(gateway.state / "lock", (1, 1))
    assert run(health) == 1
    assert "the gateway is stuck" in json.loads(capsys.readouterr().out)["wrong"]
    gateway.process.kill()
