"""Tells once a day that the gateway's certificate is about to end, or has: no device connects then."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from broker_server.events import Events
from broker_server.identity.certificates import days_left, utc_now

DAY_S: Final = 86_400.0
RENEW_DAYS: Final = 30


class CertificateWatch:
    """Args: events: told how many days are left."""

    def __init__(self, events: Events) -> None:
        self._events, self._at = events, -1.0

    def look(self, file: Path | None, now: float) -> None:
        """Look, if it is time. Args: file: of the certificate; now: monotonic seconds."""
        if file is None or now < self._at:
            return
        self._at = now + DAY_S
        with contextlib.suppress(OSError, ValueError):  # told by whoever uses it
            days = days_left(file.read_text(encoding="ascii"), utc_now())
            if days < RENEW_DAYS:
                self._events.tell("certificate", file=str(file), days=days)

    def look_again(self) -> None:
        """Look at the next occasion: the file may be another."""
        self._at = -1.0
