"""What systemd is told over NOTIFY_SOCKET (sd_notify(3)): ready, alive, what is going on, the end. No library."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Any, Final

from broker_server.display import describe

_TELLING: Final = frozenset({"round", "version", "waiting", "finished", "down"})
STATUS_CHARACTERS: Final = 200


class Supervisor:
    """Tells systemd how the gateway is; without NOTIFY_SOCKET it tells nobody. Watches events.

    Args:
        environment: of the process.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path

    def __call__(self, event: dict[str, Any]) -> None:
        """Take an event: READY once devices can come, STATUS for what people want to see, STOPPING at the end."""
        kind = event["event"]
        if kind == "listening":
            self._tell("READY=1", f"STATUS=version {event['version']}, {event['url']}")
        elif kind in ("finished", "stopped"):
            self._tell("STOPPING=1")
        elif kind in _TELLING:
            self._tell(f"STATUS={describe(event)[:STATUS_CHARACTERS]}")

    def alive(self) -> None:
        """Say that the thread that decides is at work: systemd restarts a gateway that does not (WatchdogSec)."""
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.setblocking(False)  # noqa: FBT003
            to.sendto("\n".join(lines).encode(), self._address)
