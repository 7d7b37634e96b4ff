"""Whether a gateway works, in one word."""

from __future__ import annotations

from typing import Final

from broker_server.views.live import Live

SILENT_S: Final = 30.0
"""So long the deciding thread may be busy with one thing, a slow disk for example."""


def health(live: Live | None, now: float) -> str:
    """Return "ok", "starting", "stuck", "broker" (it is away) or "disk" (it refuses). Args: now: seconds since 1970."""
    if live is None:
        return "starting"
    if now - live.at > SILENT_S:
        return "stuck"
    if live.load.disk_refuses:
        return "disk"
    return "ok" if live.load.broker_up else "broker"
