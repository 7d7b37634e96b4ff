"""The systemd unit: sound as systemd reads it, hardened, and its commands do what it says when they are run."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from broker_client import Client

from broker_server.cli import build_parser
from broker_server.state.gateway_facts import GatewayFacts
from broker_server.views.reading import reading
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.broker_url import BrokerUrl
from edge_runtime.wire.chunks import split

FOLDER = Path(__file__).parents[2] / "packaging/systemd"
UNIT = FOLDER / "edge-experts-gateway.service"
PROGRAM = "/opt/edge-experts/bin/broker_server"
END_S = 3.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1) / 2)
needs = {name: pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not here") for name in (
    "systemd-analyze", "systemd-sysusers", "systemd-tmpfiles",
)}  # fmt: skip


def setting(name: str) -> str:
    """Return what the unit sets."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)[0]


@needs["systemd-analyze"]
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """As ``systemd-analyze verify`` reads it, the program being where this machine has one."""
    program = tmp_path / "broker_server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(PROGRAM, str(program)))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if UNIT.name in line]) == (0, [])


@needs["systemd-analyze"]
def test_the_unit_is_hardened() -> None:
    """An exposure of at most 1.4 of 10, as systemd counts: what is left is the network, which it serves."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=14", UNIT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]


@needs["systemd-sysusers"]
@needs["systemd-tmpfiles"]
@pytest.mark.skipif(os.geteuid() != 0, reason="users and their folders are made by root")
def test_user_and_folders_are_made(tmp_path: Path) -> None:
    """In a root directory of their own: a user without a shell, settings and state for that user alone."""
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", FOLDER / "edge-experts.sysusers.conf"], check=True)
    subprocess.run(
        ["systemd-tmpfiles", f"--root={tmp_path}", "--create", FOLDER / "edge-experts.tmpfiles.conf"], check=True
    )
    name, _, user, _, _, home, shell = (tmp_path / "etc/passwd").read_text().splitlines()[-1].split(":")
    assert (name, home) == (setting("User"), setting("WorkingDirectory"))
    assert shell.endswith("nologin")
    for folder in ("etc/edge-experts", "var/lib/edge-experts"):
        status = (tmp_path / folder).stat()
        assert (status.st_uid, status.st_mode & 0o777) == (int(user), 0o700)


class Service:
    """What systemd does with the unit, by hand: the commands that it names, and a socket that hears of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.socket.settimeout(60)
        check = self._command("ExecStartPre")
        assert subprocess.run(check, check=True, capture_output=True, text=True).stdout.endswith(
            "every value possible\n"
        )
        self.process = subprocess.Popen(
            self._command("ExecStart"), env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
            stdout=subprocess.PIPE, text=True, cwd=folder,
        )  # fmt: skip

    def _command(self, name: str) -> list[str]:
        program, *arguments = shlex.split(setting(name).replace("/etc/edge-experts", str(self.folder)))
        assert program == PROGRAM
        build_parser().parse_args(arguments)
        return [sys.executable, "-m", "broker_server", *arguments]

    def hears(self, line: str) -> str:
        """Return the next message to systemd that has a line that begins so."""
        while True:
            message = self.socket.recv(4096).decode()
            if any(one.startswith(line) for one in message.splitlines()):
                return message

    def close(self) -> None:
        """Leave nothing running."""
        self.process.kill()
        self.process.communicate()
        self.socket.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Run the unit's command on settings of its own."""
    tiny.make_package(tmp_path / "package")
    head = 'package = "package"\nfederation = "x"\nstate = "state"\nevents = "events.jsonl"\n'
    with socket.create_server(("127.0.0.1", 0)) as free:
        page = free.getsockname()[1]
    (tmp_path / "gateway.toml").write_text(f"{head}[listen]\nport = 0\n[web]\nport = {page}\n")
    running = Service(tmp_path)
    yield running
    running.close()


def test_the_service_says_that_it_is_ready_and_alive_and_ends_in_time(service: Service) -> None:
    """Ready once devices connect, its page told of; ended in three seconds while three devices send all they can."""
    ready = service.hears("READY=1")
    service.hears("WATCHDOG=1")
    with reading(service.folder / "state") as ledger:
        facts = GatewayFacts.read(ledger)
    assert facts is not None
    assert f"port = {facts.page.removeprefix('http://127.0.0.1:')}\n" in (service.folder / "gateway.toml").read_text()
    devices = [upload(BrokerUrl.parse(ready.split(", ")[1], allow_plaintext=True), name) for name in "abc"]
    began = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(60) == 0
    assert time.monotonic() - began < END_S
    service.hears("STOPPING=1")
    for device in devices:
        device.stop()
    for path in service.folder.rglob("state/**/*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert (service.folder / "events.jsonl").stat().st_mode & 0o077 == 0


def upload(url: BrokerUrl, name: str) -> Client:
    """Return a device that sends pieces of a delta faster than anybody takes them."""
    device = Client(url, name).up()
    for chunk in split(secrets.token_bytes(10_000_000), pb.DELTA):
        device.paho.publish(f"fl/v1/x/delta/{name}", chunk, 1)
    return device


def test_a_reload_is_told_with_what_changed(service: Service) -> None:
    """By the signal that ExecReload sends: limits hold at once, a quorum at the next start, and both are named."""
    assert setting("ExecReload") == "/bin/kill -HUP $MAINPID"
    service.hears("READY=1")
    settings = service.folder / "gateway.toml"
    settings.write_text(
        settings.read_text().replace("port = 0\n[web]", "port = 0\nconnections = 9\n[round]\nquorum = 5\n[web]")
    )
    service.process.send_signal(signal.SIGHUP)
    assert service.process.stdout is not None
    line = next(line for line in service.process.stdout if "were read again" in line)
    assert line.endswith("changed: listen.connections; not before the next start: round.quorum\n")
