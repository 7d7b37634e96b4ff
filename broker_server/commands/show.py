"""``broker_server status``, ``devices`` and ``versions``: read the ledger, also while a gateway writes it."""

from __future__ import annotations

import argparse
import fcntl
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from broker_server.commands import Subcommands, add_state, parser, say, say_json
from broker_server.display import size
from broker_server.errors import UsageError
from broker_server.evaluation.onnx_model import TextFigures
from broker_server.rounds.roster import wants_statistics
from broker_server.state.requests import mark
from broker_server.state.store import Store
from edge_runtime.wire.manifest_checks import CAUSAL_LM

DEVICES = """  broker_server devices
  broker_server devices --json --state runs/gateway
  broker_server devices --revoke phone-7 phone-8
  broker_server devices --restore phone-7
"""
VERSIONS = """  broker_server versions
  broker_server versions --json
"""
SILENT_S: Final = 60.0
"""A gateway notes every few seconds that it is alive; one that holds its state and does not is stuck."""


def add(commands: Subcommands) -> None:
    """Add the three subcommands."""
    status = parser(
        commands,
        "status",
        "show where the federation stands",
        "  broker_server status\n  broker_server status --json\n",
    )
    devices = parser(commands, "devices", "list the devices and what they sent, or remove one", DEVICES)
    versions = parser(commands, "versions", "list the versions and where they come from", VERSIONS)
    for command, main in ((status, show_status), (devices, show_devices), (versions, show_versions)):
        add_state(command)
        command.set_defaults(main=main)
    change = devices.add_mutually_exclusive_group()
    change.add_argument("--revoke", nargs="+", metavar="DEVICE", help="refuse everything from these from now on")
    change.add_argument("--restore", nargs="+", metavar="DEVICE", help="take revoked devices back")


def show_status(args: argparse.Namespace) -> int:
    """Print the state of the federation; 1 when no gateway is at work on it."""
    store = Store.open_read_only(args.state)
    last, version = store.ledger.last_round(), store.ledger.version()
    answered = [row.device for row in store.ledger.deltas(last.round)] if last else []
    planned = sorted(store.ledger.plans(last.round)) if last else []
    running, alive = _held(args.state / "lock"), _alive(args.state / "lock")
    works = running and time.time() - alive < SILENT_S
    devices = store.ledger.devices()
    tree: dict[str, Any] = {
        "running": running,
        "alive": _time(alive),
        "state": str(args.state),
        "federation_digest": store.lineage.federation.hex(),
        "backbone": store.manifest.architecture.backbone.name,
        "version": version.version if version else None,
        "round": last.round if last else 0,
        "round_open": bool(last and last.closed is None),
        "planned": planned,
        "answered": answered,
        "late": sum(row.round != (last.round if last else 0) for row in store.ledger.waiting()),
        "devices": len(devices),
        "devices_here": sum(row["present"] for row in devices) if running else 0,
        "bytes_up": sum(row["bytes_up"] for row in devices),
        "bytes_down": sum(row["bytes_down"] for row in devices),
        "limits": _hits(store.ledger.hits()),
    }
    if args.json:
        say_json(tree)
        return 0 if works else 1
    gateway = "running" if works else f"{'stuck' if running else 'not running'} since {_time(alive)}"
    say(f"gateway    {gateway}, state {args.state}")
    say(f"federation {tree['backbone']}, digest {tree['federation_digest'][:12]}")
    say(f"version    {tree['version']}")
    phase = "open" if tree["round_open"] else "closed"
    over = {*answered, *store.ledger.revoked_devices()}
    waits = [name for name in planned if name not in over] if tree["round_open"] else []
    missing = f"; waits for {', '.join(waits[:8])}{' …' if len(waits) > 8 else ''}" if waits else ""
    say(
        f"round      {tree['round']} {phase}, {len(answered)} of {len(planned)} deltas{missing}"
        if last
        else "round      none yet"
    )
    say(f"devices    {tree['devices_here']} here, {tree['devices']} registered")
    say(f"bytes      {size(tree['bytes_up'])} up, {size(tree['bytes_down'])} down")
    if tree["limits"]:
        say(f"limits     {_times(tree['limits'])}")
    return 0 if works else 1


def show_devices(args: argparse.Namespace) -> int:
    """Print the devices, or remove one."""
    if args.revoke or args.restore:
        return _change(args.state, args.revoke or args.restore, revoked=bool(args.revoke))
    store = Store.open_read_only(args.state)
    trained: dict[str, int] = {}
    for (device, _), times in store.ledger.trained().items():
        trained[device] = trained.get(device, 0) + times
    statistics, step_times = store.ledger.statistics_digests(), store.ledger.step_times()
    running, hits = _held(args.state / "lock"), store.ledger.hits()
    rows = [
        {
            "device": row["device"],
            "state": "revoked" if row["revoked"] else "here" if row["present"] and running else "away",
            "profile": row["hello"].profile,
            "runtime": row["hello"].runtime,
            "trained_slots": row["hello"].trained_slots,
            "held_slots": row["hello"].held_slots,
            "examples": row["hello"].examples,
            # A Hello tells of the rounds before it; in its first session a device has trained only since.
            "step_ms": round(step_times.get(row["device"]) or row["hello"].step_ms, 2),
            "class_statistics": not wants_statistics(row["hello"], statistics.get(row["device"]))
            and row["device"] in statistics,
            "blocks_trained": trained.get(row["device"], 0),
            "bytes_up": row["bytes_up"],
            "bytes_down": row["bytes_down"],
            "last_seen": _time(row["last_seen"]),
            "limits": _hits(hit for hit in hits if hit[0] == row["device"]),
        }
        for row in store.ledger.devices()
    ]
    if args.json:
        say_json(rows)
        return 0
    keys = ["device", "state", "profile", "trained_slots", "examples", "step_ms", "blocks_trained", "last_seen"]
    _table(
        [*keys, "up", "down", "limits reached"],
        [
            [
                *("" if key == "step_ms" and not row[key] else row[key] for key in keys),  # 0: not measured yet
                size(row["bytes_up"]),
                size(row["bytes_down"]),
                _times(row["limits"]),
            ]
            for row in rows
        ],
    )
    return 0


def show_versions(args: argparse.Namespace) -> int:
    """Print the lineage."""
    store = Store.open_read_only(args.state)
    measured: dict[int, list[dict[str, Any]]] = {}
    for evaluation in (*store.ledger.evaluations(), *store.ledger.text_evaluations()):
        measured.setdefault(evaluation["version"], []).append(_figures(evaluation))
    rows = [
        {
            "version": row.version,
            "parent": row.parent,
            "digest": row.digest.hex(),
            "reason": row.reason,
            "round": row.round,
            "contributors": row.contributors,
            "created": _time(row.created),
            "evaluations": measured.get(row.version, []),
        }
        for row in store.ledger.versions()
    ]
    if args.json:
        say_json(rows)
        return 0
    keys = ["version", "parent", "reason", "round", "contributors", "created"]
    figure = "perplexity" if store.manifest.architecture.task == CAUSAL_LM else "accuracy"
    _table(
        [*keys, "digest", figure],
        [
            [
                *("" if row[key] is None else row[key] for key in keys),
                str(row["digest"])[:12],
                ", ".join(f"{figures[figure]:.4f}" for figures in measured.get(int(str(row["version"])), [])),
            ]
            for row in rows
        ],
    )
    return 0


def _hits(hits: Iterable[tuple[str, str, int]]) -> dict[str, int]:
    """Return how often each limit was reached."""
    result: dict[str, int] = {}
    for _, limit, times in hits:
        result[limit] = result.get(limit, 0) + times
    return result


def _times(limits: dict[str, int]) -> str:
    return ", ".join(f"{limit} {times} x" for limit, times in limits.items())


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the ledger as it is shown."""
    if "loss" in row:
        return {"data": row["data"], **TextFigures(row["loss"], row["tokens"]).plain()}
    return {key: row[key] for key in ("data", "accuracy", "macro_f1", "examples")}


def _change(state: Path, devices: list[str], *, revoked: bool) -> int:
    registered = [row["device"] for row in Store.open_read_only(state).ledger.devices()]
    unknown = sorted(set(devices) - set(registered))
    if unknown:
        names = ", ".join(registered[:8]) or "none"
        msg = f"no device {', '.join(map(repr, unknown))} in {state}, nothing was changed; there are: {names}"
        raise UsageError(msg)
    mark(state, devices, revoked=revoked)
    verb = "is" if len(devices) == 1 else "are"
    state_now = "revoked" if revoked else "taken back"
    say(f"{', '.join(devices)} {verb} {state_now}; a running gateway heeds it at once")
    return 0


def _table(columns: list[str], rows: list[list[Any]]) -> None:
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        say("\t".join(columns))
        for row in rows:
            say("\t".join(map(str, row)))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)


def _held(lock: Path) -> bool:
    """Return whether a gateway holds the state directory now."""
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _alive(lock: Path) -> float:
    """Return when a gateway last noted that it is alive, in seconds since 1970."""
    try:
        return lock.stat().st_mtime
    except OSError:
        return 0.0


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
