"""``broker_server devices``: who takes part; all about one; removing one, and taking it back."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from broker_server.commands import Subcommands, add_newest, add_state, parser, say, say_json
from broker_server.commands.tables import Cell, say_lines, say_rest, say_table
from broker_server.errors import UsageError
from broker_server.state.requests import mark
from broker_server.views.devices import Device, read_devices
from broker_server.views.reading import reading
from broker_server.views.wording import ago, instant, size, times

EXAMPLES = """  broker_server devices
  broker_server devices phone-7               all about one
  broker_server devices --json --state runs/gateway
  broker_server devices --revoke phone-7 phone-8
  broker_server devices --restore phone-7
"""
_STYLES = {"here": "green", "revoked": "red"}


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    command = parser(commands, "devices", "list the devices and what they sent, or remove one", EXAMPLES)
    command.add_argument(
        "devices", nargs="*", metavar="DEVICE", help="show everything about these (default: a table of all)"
    )
    add_state(command)
    add_newest(command, 100, "devices, those seen last")
    change = command.add_mutually_exclusive_group()
    change.add_argument("--revoke", nargs="+", metavar="DEVICE", help="refuse everything from these from now on")
    change.add_argument("--restore", nargs="+", metavar="DEVICE", help="take revoked devices back")
    command.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print them, or remove one."""
    if args.revoke or args.restore:
        return _change(args.state, args.revoke or args.restore, revoked=bool(args.revoke))
    _check_names(args.state, args.devices, "")
    with reading(args.state) as ledger:
        devices = read_devices(ledger, args.newest, args.devices)
    now = time.time()
    if args.json:
        say_json(devices.plain())
    elif args.devices:
        for place, device in enumerate(devices.rows):
            if place:
                say("")
            say_lines(_lines(device, now))
    else:
        _say_table(devices.rows, now)
        say_rest(len(devices.rows), devices.total, "devices")
    return 0


def _say_table(devices: tuple[Device, ...], now: float) -> None:
    refused, trusted = any(device.refused for device in devices), any(device.trust is not None for device in devices)
    columns = [
        "device",
        "state",
        "profile",
        "examples",
        "deltas",
        *(["refused"] if refused else []),
        *(["trust"] if trusted else []),
        "up",
        "down",
        "seen",
    ]
    rows: list[list[str | Cell]] = [
        [
            device.name,
            Cell(device.state, _STYLES.get(device.state, "")),
            device.profile,
            str(device.examples),
            str(device.accepted),
            *([Cell(str(device.refused or ""), "yellow")] if refused else []),
            *([_trust(device)] if trusted else []),
            size(device.bytes_up),
            size(device.bytes_down),
            ago(device.last_seen, now),
        ]
        for device in devices
    ]
    say_table(columns, rows, left=3)


def _trust(device: Device) -> str | Cell:
    if device.trust is None:
        return ""
    if device.left_out_since is None:
        return f"{device.trust:+.2f}"
    return Cell(f"{device.trust:+.2f}, left out since version {device.left_out_since}", "yellow")


def _lines(device: Device, now: float) -> list[tuple[str, str | Cell]]:
    budget = device.budget
    limits = [
        f"{size(budget.bytes_up_per_round)} up" if budget.bytes_up_per_round else "",
        f"{size(budget.bytes_down_per_round)} down" if budget.bytes_down_per_round else "",
        f"{budget.seconds_per_round:g} s" if budget.seconds_per_round else "",
    ]
    return [
        ("device", Cell(device.name, "bold")),
        ("state", Cell(device.state, _STYLES.get(device.state, ""))),
        ("seen", f"{ago(device.last_seen, now)}, first {instant(device.first_seen)}"),
        ("profile", f"{device.profile}, {device.runtime}"),
        ("slots", f"{budget.trained_slots} trained, {budget.held_slots} held, in each layer"),
        ("budget", f"{', '.join(filter(None, limits)) or 'no limit'} in a round"),
        ("examples", f"{device.examples}, class sums {'are in' if device.class_statistics else 'not in'}"),
        ("step", f"{device.step_ms:.1f} ms" if device.step_ms else "not measured yet"),
        ("deltas", f"{device.accepted} accepted, {device.refused} refused; {device.blocks_trained} blocks in versions"),
        ("refused", Cell(times(device.refusals), "yellow")),
        ("trust", _trust(device)),
        ("limits", Cell(times(device.limits), "yellow")),
        ("bytes", f"{size(device.bytes_up)} up, {size(device.bytes_down)} down"),
    ]


def _change(state: Path, devices: list[str], *, revoked: bool) -> int:
    _check_names(state, devices, ", nothing was changed")
    mark(state, devices, revoked=revoked)
    verb = "is" if len(devices) == 1 else "are"
    state_now = "revoked" if revoked else "taken back"
    say(f"{', '.join(devices)} {verb} {state_now}; a running gateway heeds it at once")
    return 0


def _check_names(state: Path, devices: list[str], consequence: str) -> None:
    with reading(state) as ledger:
        unknown = sorted(name for name in set(devices) if not ledger.registered(name))
        names = ", ".join(ledger.last_seen_devices(8)) or "none"
    if unknown:
        msg = f"no device {', '.join(map(repr, unknown))} in {state}{consequence}; there are: {names}"
        raise UsageError(msg)
