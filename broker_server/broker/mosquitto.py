"""A Mosquitto beside the gateway: configured, started, watched, and ended with it.

One thread starts the process and waits for it, so that a Mosquitto that dies is there again at once; a kill costs
nothing, because nothing is only there. Linux ends the process when that thread ends, also by kill -9 of the gateway.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from broker_server.broker.mosquitto_config import ACCESS, REVOKED, SOCKET, Listener, access, configuration
from broker_server.errors import ListenError, StorageError

PROGRAM: Final = "mosquitto"
FOLDER: Final = "mosquitto"
CONFIGURATION: Final = "mosquitto.conf"
START_S: Final = 10.0
STOP_S: Final = 1.0
FREE_S: Final = 3.0
"""How long a port may be taken by the Mosquitto of a gateway that was killed just now."""
FIRST_RETRY_S: Final = 0.2
LAST_RETRY_S: Final = 30.0
STEADY_S: Final = 10.0
_FALLBACK: Final = "/usr/sbin:/usr/local/sbin"
_RUNNING: Final = re.compile(r"mosquitto version \S+ running")
_USUAL: Final = ("ACL pattern", "should not be run as root", "Unable to set TCP_NODELAY")
# Is killed with its parent, then becomes Mosquitto (which forgets a SIGTERM that comes while it starts, and has nothing
# to put away); a parent that is gone already sends no signal any more.
_LAUNCH: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

log = logging.getLogger("broker_server.broker.mosquitto")


@dataclass(frozen=True)
class Said:
    """Something about the broker that a person should know."""

    text: str


class Mosquitto:
    """A supervised Mosquitto.

    Args:
        listener: where devices come in; a port of 0 is chosen here.
        federation: whose topics.
        state: the gateway's state directory; the broker's files are in a folder of it.
        say: told when it died and when it is there again; called from another thread.
        sign: makes the list of refused certificates (PEM) from their serial numbers, for ``listener.revocations``.
    """

    def __init__(
        self,
        listener: Listener,
        federation: str,
        state: Path,
        say: Callable[[Said], None],
        sign: Callable[[frozenset[str]], bytes] | None = None,
    ) -> None:
        self._federation, self._say, self._sign = federation, say, sign
        self._certificates: frozenset[str] = frozenset()
        self._restart = False
        self._folder = state.resolve() / FOLDER
        self._listener = listener if listener.port else replace(listener, port=_free_port(listener.host))
        self._revoked: frozenset[str] = frozenset()
        self._process: subprocess.Popen[str] | None = None
        self._first = threading.Event()
        self._failure, self._opened = "", -1
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="mosquitto", daemon=True)

    @property
    def port(self) -> int:
        """Return the port that devices connect to."""
        return self._listener.port

    @property
    def socket(self) -> Path:
        """Return the socket file on which the gateway connects, with full rights."""
        # By way of an open folder: a socket's path has at most 107 bytes, and a state directory may lie deep.
        return Path(f"/proc/self/fd/{self._opened}") / SOCKET

    def start(self) -> None:
        """Start it; returns when clients can connect.

        Raises:
            ListenError: when Mosquitto is not installed, does not start, or a port is taken.
            StorageError: when its files cannot be written.
        """
        program = _program()
        for port in filter(None, (self._listener.port, self._listener.websocket_port)):
            _await_free(self._listener.host, port)
        self._write()
        self._command = [program, "-c", CONFIGURATION]
        self._opened = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        self._thread.start()
        if not self._first.wait(START_S):
            self._failure = f"did not say within {START_S:.0f} s that it runs"
        if self._failure:
            self.stop()
            raise ListenError(f"mosquitto does not start: {self._failure}; its configuration is in {self._folder}")

    def revoke(self, devices: Iterable[str], certificates: Iterable[str] = ()) -> None:
        """Refuse these, and no others, from now on.

        A device that is connected says and hears nothing more. Certificates are looked at when a connection is made,
        so that new ones there end all connections; those that may come back at once.

        Args:
            devices: by name.
            certificates: by serial number, in hex.

        Raises:
            StorageError: when that cannot be written; it is then to be tried again.
        """
        before = self._revoked, self._certificates
        self._revoked, self._certificates = frozenset(devices), frozenset(certificates)
        if self._process is None or before == (self._revoked, self._certificates):
            return
        try:
            self._write_access()
        except StorageError:
            self._revoked, self._certificates = before
            raise
        if self._sign is None or before[1] == self._certificates:
            self.reload()
        else:
            self._restart = True
            self._process.kill()

    def reload(self) -> None:
        """Read access list and certificates again; connections stay."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGHUP)

    def reconfigure(self, listener: Listener) -> None:
        """Read the certificates again, and take other limits, for which it is started anew.

        Raises:
            StorageError: when the configuration cannot be written.
        """
        listener = replace(listener, port=self._listener.port)
        process = self._process
        # Its WebSockets read certificates at the start only.
        if process is None or (listener == self._listener and not listener.websocket_port):
            self.reload()
            return
        self._listener = listener
        self._put(CONFIGURATION, configuration(listener, _user()).encode())
        self._restart = True
        process.kill()

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        if self._opened >= 0:
            os.close(self._opened)
            self._opened = -1

    def _write(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
        except OSError as error:
            raise StorageError(f"cannot make {self._folder} for mosquitto: {error.strerror}") from error
        self._put(CONFIGURATION, configuration(self._listener, _user()).encode())
        self._write_access()

    def _write_access(self) -> None:
        text = access(self._federation, self._revoked, proven=self._listener.tls is not None)
        self._put(ACCESS, text.encode())
        if self._sign is not None:
            self._put(REVOKED, self._sign(self._certificates))

    def _put(self, name: str, data: bytes) -> None:
        beside = self._folder / f"{name}.new"
        try:
            beside.write_bytes(data)
            beside.replace(self._folder / name)
        except OSError as error:
            raise StorageError(f"cannot write {name} for mosquitto: {error.strerror}; free some space") from error

    def _supervise(self) -> None:
        tries = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            last = self._run()
            if self._stopping.is_set():
                return
            if not self._first.is_set():
                self._failure = last
                self._first.set()
                return
            if self._restart:
                self._restart = False
                continue
            tries = 0 if time.monotonic() - began >= STEADY_S else tries + 1
            wait = min(LAST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(tries, 30))
            self._say(Said(f"mosquitto ended ({last}); starting it again in {wait:.1f} s"))
            self._stopping.wait(wait)

    def _run(self) -> str:
        """Run it until it ends; return its last error, or how it ended."""
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *self._command]
        try:
            process = subprocess.Popen(
                launch, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                text=True, encoding="utf-8", errors="replace", process_group=0,  # Ctrl-C is for the gateway
            )  # fmt: skip
        except OSError as error:
            return str(error)
        self._process = process
        if self._stopping.is_set():
            process.terminate()
        errors: collections.deque[str] = collections.deque(maxlen=1)
        with process:
            for line in process.stderr or ():
                self._hear(line.strip(), errors)
        return errors[0] if errors else _ending(process.returncode)

    def _hear(self, line: str, errors: collections.deque[str]) -> None:
        if _RUNNING.fullmatch(line):
            if self._first.is_set():
                self._say(Said("mosquitto runs again"))
            self._first.set()
        if line.startswith("Error:"):
            errors.append(line.removeprefix("Error:").strip())
        quiet = any(usual in line for usual in _USUAL) or not line.startswith(("Error:", "Warning:"))
        log.log(logging.DEBUG if quiet else logging.WARNING, "%s", line)


def installed() -> str | None:
    """Return where Mosquitto is on this machine."""
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path=_FALLBACK)


def _program() -> str:
    program = installed()
    if program is None:
        raise ListenError(
            "mosquitto is not installed; on Debian, Ubuntu and Raspberry Pi OS: apt-get install mosquitto && "
            "systemctl disable --now mosquitto; or leave broker out"
        ).about("broker")
    return program


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _ending(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _free_port(host: str) -> int:
    try:
        with socket.create_server((host, 0), family=_family(host)) as server:
            port: int = server.getsockname()[1]
    except OSError as error:
        raise ListenError(f"cannot listen on {host}: {error.strerror or error}") from error
    return port


def _await_free(host: str, port: int) -> None:
    """Return when nobody listens on a port.

    Raises:
        ListenError: when somebody goes on to, or the address is not ours.
    """
    deadline = time.monotonic() + FREE_S
    while True:
        try:
            socket.create_server((host, port), family=_family(host)).close()
        except PermissionError as error:
            text = f"only root may listen on port {port}; choose one from 1024 on"
            raise ListenError(text).about("listen.port") from error
        except OSError as error:
            if time.monotonic() < deadline and not isinstance(error, socket.gaierror):
                time.sleep(0.1)
                continue
            detail = error.strerror or str(error)
            raise ListenError(
                f"cannot listen on {host} port {port}: {detail}; Debian's mosquitto package runs a broker of its own "
                "(systemctl disable --now mosquitto); stop it, or choose another port"
            ).about("listen.port") from error
        return
