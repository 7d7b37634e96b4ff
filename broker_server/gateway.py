"""``Gateway``: a gateway within a Python program, on threads of its own; `broker_server run` has it in its main one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, get_type_hints

from broker_server.config import GatewayConfig
from broker_server.config_file import load
from broker_server.errors import RoundError, UsageError
from broker_server.events import Events, Watcher
from broker_server.service import Service, Stop
from broker_server.views.reading import reading
from broker_server.views.status import Status, read_status
from broker_server.views.versions import Version, read_versions
from broker_server.web.page import serving

PathLike = str | os.PathLike[str]
_LOOK_S: Final = 0.2
"""How often a wait looks by itself, whatever it is told."""


def load_config(file: PathLike | None = None, **settings: object) -> GatewayConfig:
    """Return the settings of a gateway: those of a file, and in place of them those given here.

    Args:
        file: path of a gateway.toml; None: the defaults. Relative paths in it start from its folder.
        settings: by the keys of gateway.toml, which docs/reference.md lists; a table is a dict:
            ``package="packages/pixel8"``, ``rounds=3``, ``round={"quorum": 1}``, ``listen={"port": 0}``.

    Raises:
        UsageError: for a file that cannot be read, an unknown key, or a value of the wrong kind; and without a package,
            unless there is just one below packages/.
    """
    overrides: dict[str, Any] = {}
    kinds = get_type_hints(GatewayConfig)
    for name, value in settings.items():
        if name in kinds and is_dataclass(kinds[name]) != isinstance(value, dict):
            expected = "a dict of its keys" if is_dataclass(kinds[name]) else "a value"
            raise UsageError(f"{name} is {value!r}, expected {expected}")
        if isinstance(value, dict):
            overrides |= {f"{name}.{key}": one for key, one in value.items()}
        else:
            overrides[name] = value
    return load(Path(file) if file is not None else None, overrides)


class Gateway:
    """A gateway within this program: broker, rounds, state, and the page if the settings ask for one.

    It runs from ``with`` to the end of the block, on threads of its own; every method may be called from any thread.
    What it acknowledged survives whatever happens to the process: the next gateway with the same state directory goes
    on from there.

    Args:
        config: settings (``load_config``), or the path of a gateway.toml.
        events: called with what happens: a dict with "event", "at" (seconds since 1970) and what belongs to the event.
            It is called on the gateway's thread, so it must be quick.
        accept_loss: start even if versions that devices were told of are lost.

    Raises:
        UsageError: for settings that cannot be used.
    """

    def __init__(
        self, config: GatewayConfig | PathLike, *, events: Watcher | None = None, accept_loss: bool = False
    ) -> None:
        self._config = config if isinstance(config, GatewayConfig) else load(Path(config), {})
        self._accept_loss, self._stop = accept_loss, Stop()
        self._events = Events()
        if events is not None:
            self._events.watch(events)
        self._events.watch(self._noticed)
        self._changed = threading.Condition()
        self._service: Service | None = None
        self._thread: threading.Thread | None = None
        self._url, self._version = "", -1
        self._over, self._finished = False, False
        self._failure: BaseException | None = None

    # --- from start to end -------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Start it; it listens when this returns.

        Raises:
            PackageError, StateError, ListenError, DataError, EvaluationError: when it cannot start; nothing is left
                running.
        """
        if self._thread is not None:
            raise RoundError("this gateway was started before; make another one")
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._url or self._over)
        self._raise_failure()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None:
            self._raise_failure()

    def stop(self) -> None:
        """Stop, and wait until that is done; an open round goes on at the next start.

        Called from within ``events`` it does not wait: the gateway's thread cannot wait for itself.
        """
        self._stop.ask()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            finished = run(self._config, self._events, self._stop, accept_loss=self._accept_loss, told=self._started)
            self._end(finished=finished)
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits
            self._failure = error
            self._end(finished=False)

    def _end(self, *, finished: bool) -> None:
        with self._changed:
            self._over, self._finished = True, finished
            self._changed.notify_all()

    def _started(self, service: Service) -> None:
        with self._changed:
            self._service, self._url = service, service.url
            self._changed.notify_all()

    def _noticed(self, _: dict[str, Any]) -> None:
        """Let those who wait look: something happened."""
        with self._changed:
            self._changed.notify_all()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # --- what is going on --------------------------------------------------------------------------------------

    @property
    def config(self) -> GatewayConfig:
        """Its settings."""
        return self._config

    @property
    def url(self) -> str:
        """Where devices connect, as ``Model.join`` takes it; "" before it started."""
        return self._url

    @property
    def running(self) -> bool:
        """Whether it is at work."""
        return bool(self._url) and not self._over

    def status(self) -> Status:
        """Return how the federation is: newest version, last round, devices, bytes, refusals, disk.

        Raises:
            StateError: when the state directory cannot be read.
        """
        with reading(self._config.state) as ledger:
            return read_status(ledger, time.time())

    def versions(self, newest: int = 20) -> tuple[Version, ...]:
        """Return the last versions, oldest first, each with its measurements (``evaluate`` of the settings).

        Args:
            newest: how many at most.

        Raises:
            StateError: when the state directory cannot be read.
        """
        with reading(self._config.state) as ledger:
            return read_versions(ledger, newest).rows

    def wait(self, version: int | None = None, timeout_s: float | None = None) -> bool:
        """Wait for a version that devices can get, or until all rounds are done and devices have the last version.

        Args:
            version: number of the version, or a later one; None: wait until the gateway has ended by itself.
            timeout_s: give up after so many seconds; None: never.

        Returns:
            Whether that came. False: time was up, or the gateway ended before.

        Raises:
            FederationError: the error with which the gateway ended, if it did.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not (self._over or self._came(version)):
                left = _LOOK_S if until is None else min(_LOOK_S, until - time.monotonic())
                if left <= 0:
                    return False
                self._changed.wait(left)
        self._raise_failure()
        return self._finished if version is None else self._came(version)

    def _came(self, version: int | None) -> bool:
        if self._service is not None:
            self._version = self._service.conductor.row.version
        return version is not None and self._version >= version


def run(
    config: GatewayConfig,
    events: Events,
    stop: Stop,
    *,
    accept_loss: bool = False,
    read: Callable[[], GatewayConfig] | None = None,
    alive: Callable[[], None] = lambda: None,
    told: Callable[[Service], None] = lambda _: None,
) -> bool:
    """Serve on this thread until the last round is done and fetched, or it is stopped; return whether it finished.

    Args:
        config: settings.
        events: told what happens.
        stop: ends it soon after it was asked, or has it read its settings again.
        accept_loss: go on without announced versions that are lost.
        read: returns the settings as they are now.
        alive: called every few seconds.
        told: given the running service.

    Raises:
        PackageError, StateError, ListenError, DataError, EvaluationError: when it cannot start.
    """
    with (
        Service(config, events, stop, accept_loss=accept_loss, read=read, alive=alive) as service,
        serving(config, lambda: service.live, events),
    ):
        told(service)
        finished = service.run()
        if not finished:
            events.tell("stopped", round=service.conductor.round, version=service.conductor.row.version)
    return finished
