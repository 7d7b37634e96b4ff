"""``broker_server status``: where the federation stands; its exit code says whether a gateway is at work."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from broker_server.commands import Subcommands, add_state, parser, say_json
from broker_server.commands.tables import Cell, say_lines
from broker_server.views.masks import masks_words
from broker_server.views.reading import reading
from broker_server.views.status import LastRound, Status, read_status
from broker_server.views.wording import (
    ago,
    decided,
    duration,
    engine_words,
    instant,
    left_out_words,
    privacy_words,
    size,
    times,
    upstream_words,
)

EXAMPLES = """  broker_server status
  broker_server status --json --config /etc/edge-experts/gateway.toml
  broker_server status >/dev/null || echo "the gateway is down"
"""
_STYLES = {"running": "bold green", "stuck": "bold yellow", "stopped": "bold red"}


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(
        commands, "status", "show where the federation stands; exit code 1: no gateway is at work", EXAMPLES
    )
    add_state(command)
    command.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print it; 1 when no gateway is at work on this state."""
    with reading(args.state) as ledger:
        status = read_status(ledger, time.time())
    if args.json:
        say_json(status.plain())
    else:
        say_lines(_lines(status))
    return 0 if status.works else 1


def _lines(status: Status) -> list[tuple[str, str | Cell]]:
    version = "none yet"
    if status.version is not None and status.version_at is not None:
        version = f"{status.version}, made {ago(status.version_at, status.now)}{_worth(status)}"
    return [
        ("gateway", Cell(_gateway(status), _STYLES[status.gateway])),
        ("address", status.facts.url if status.facts else ""),
        ("page", status.facts.page if status.facts and status.works else ""),
        ("federation", f"{status.backbone}, digest {status.federation_digest[:12]}"),
        ("version", version),
        ("merging", status.merging),
        ("engine", engine_words(status.engine)),
        ("upstream", upstream_words(status.upstream)),
        ("left out", Cell(left_out_words(status.distrusted), "yellow") if status.distrusted else ""),
        ("gate", _gate(status)),
        ("privacy", privacy_words(status.privacy) if status.privacy else ""),
        ("seen", masks_words(status.secure) if status.secure else ""),
        ("buffer", _buffer(status)) if status.buffer else ("round", _round(status.round, status.now)),
        ("devices", _devices(status)),
        ("bytes", f"{size(status.bytes_up)} up, {size(status.bytes_down)} down"),
        ("deltas", f"{status.accepted} accepted, {sum(status.refusals.values())} refused"),
        ("refused", Cell(times(status.refusals), "yellow")),
        ("limits", Cell(times(status.limits), "yellow")),
        ("disk", f"{size(status.disk.used)} used, {size(status.disk.free)} free"),
    ]


def _gateway(status: Status) -> str:
    alive = status.liveness.alive_at
    if status.works:
        up = f" for {duration(status.now - status.facts.started)}" if status.facts else ""
        return f"running{up}, state {status.folder}"
    word = "stuck" if status.gateway == "stuck" else "not running"
    return f"{word} since {instant(alive)} ({ago(alive, status.now)}), state {status.folder}"


def _worth(status: Status) -> str:
    one = status.evaluation
    if one is None:
        return ""
    which = "" if one.version == status.version else f" (version {one.version})"
    return f", {one.figure} {one.value:.4f}{which}"


def _gate(status: Status) -> str | Cell:
    if status.held is not None:
        return f"version {status.held} is measured before devices get it"
    if status.gate is None:
        return ""
    words = decided(status.gate)
    return words if status.gate.served else Cell(words, "yellow")


def _buffer(status: Status) -> str:
    work = [name for name in status.round.planned if name not in status.round.revoked]
    names = f"; at work: {_names(work)}" if work else ""
    return f"{status.buffered} of {status.buffer} deltas wait for the next merge{names}"


def _names(names: Sequence[str]) -> str:
    return f"{', '.join(names[:8])}{' …' if len(names) > 8 else ''}"


def _round(last: LastRound, now: float) -> str:
    if not last.number:
        return "none yet"
    waits = last.awaited
    names = f"; waits for {_names(waits)}" if waits else ""
    since = f" for {duration(now - last.opened_at)}" if last.open else ""
    phase = "open" if last.open else "closed"
    return f"{last.number} {phase}{since}, {len(last.answered)} of {len(last.planned)} deltas{names}"


def _devices(status: Status) -> str:
    quorum = f", quorum {status.facts.quorum}" if status.facts else ""
    revoked = f", {status.revoked} revoked" if status.revoked else ""
    return f"{status.here} here, {status.devices} known{revoked}{quorum}"
