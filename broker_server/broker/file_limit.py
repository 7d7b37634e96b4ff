"""Connections are files of the process, as those that the gateway writes are; they must leave room for these."""

from __future__ import annotations

import logging
import resource
from dataclasses import replace
from typing import Final

from broker_server.config_tables import ConnectionLimits

OWN_FILES: Final = 200
"""Open at once for the gateway itself: ledger, spool, blobs, log."""

log = logging.getLogger("broker_server.broker")


def within_files(limits: ConnectionLimits) -> ConnectionLimits:
    """Raise the system's limit of open files as far as it goes, and return the limits that fit into it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + limits.handshakes + OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    fitting = limits if soft == resource.RLIM_INFINITY else fit(limits, soft)
    if fitting != limits:
        log.warning(
            "the system allows %d open files: room for %d devices and not %d (ulimit -n)",
            soft, fitting.connections, limits.connections,
        )  # fmt: skip
    return fitting


def fit(limits: ConnectionLimits, files: int) -> ConnectionLimits:
    """Return the limits, lowered so that no more than ``files`` are open; at least one of each is left."""
    left = max(2, files - OWN_FILES)
    handshakes = min(limits.handshakes, max(1, left // 4)) if limits.connections + limits.handshakes > left else None
    if handshakes is None:
        return limits
    return replace(limits, handshakes=handshakes, connections=max(1, min(limits.connections, left - handshakes)))
