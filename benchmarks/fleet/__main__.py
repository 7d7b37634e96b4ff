"""`python -m benchmarks.fleet`: start a gateway, drive devices against it, print what it took in, keep the result."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks import record
from benchmarks.fleet import kept, page
from benchmarks.fleet.costs import command as costs
from benchmarks.fleet.driver import Fleet, raise_files
from benchmarks.fleet.gateway import Gateway
from benchmarks.fleet.load import Load
from benchmarks.fleet.packaged import make_package, shape_for
from benchmarks.fleet.simulated import command as simulated
from edge_runtime.wire.errors import FederationError

COMMAND: Final = "python -m benchmarks.fleet"
BROKERS: Final = ("embedded", "mosquitto")
TABLE: Final = ((100, 50, False), (100, 200, False), (100, 1000, False), (820, 1000, False), (100, 1000, True))
"""Thousands of bytes of a delta, devices, past capacity."""
OTHERS: Final = {"--simulated": simulated.main, "--unit-costs": costs.main}
"""What takes the rest of the command line instead, by its flag."""
EXAMPLES: Final = """examples:
  python -m benchmarks.fleet --devices 200 --seconds 20
  python -m benchmarks.fleet --broker mosquitto --delta-kb 820
  python -m benchmarks.fleet --past-capacity            nobody waits; then the load stops, and recovery is timed
  python -m benchmarks.fleet --gateway-tree ../old      before: the gateway of another checkout
  python -m benchmarks.fleet --table --gateway-tree ../old --record     all of docs/results.md: half an hour

exit codes: 0 done, 1 the work failed or something was lost, 2 bad usage"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    default = Load()
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Light devices, without training, against a real gateway over MQTT: deltas a second, time to a "
        "verdict, the gateway's memory and processor time by thread, and whether anything was lost.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--devices", type=int, default=default.devices, metavar="N", help="devices at a time (%(default)s)")
    add("--broker", choices=BROKERS, default=default.broker, help="the gateway's broker (%(default)s)")
    add("--delta-kb", type=int, default=default.delta_kb, metavar="KB", help="size of an int8 delta (%(default)s)")
    add("--seconds", type=float, default=default.seconds, metavar="S", help="how long devices send (%(default)s)")
    add("--think-s", type=float, default=default.think_s, metavar="S",
        help="a device waits up to S seconds between its plan and its delta (%(default)s)")  # fmt: skip
    add("--unruly", type=float, default=100 * default.unruly, metavar="PERCENT",
        help="share of deltas whose device stalls, drops its connection or lies (%(default)s)")  # fmt: skip
    add("--fetch", type=float, default=100 * default.fetch, metavar="PERCENT",
        help="share of devices that fetch every block at the end (%(default)s)")  # fmt: skip
    add("--past-capacity", action="store_true", help="no device waits: after a verdict it sends its next body at once")
    add("--protocol", choices=("auto", "chunks", "offers"), default="auto",
        help="whether devices offer a body before they send it; auto: to this checkout's gateway")  # fmt: skip
    add("--table", action="store_true",
        help="every load of docs/results.md, one after another; with --gateway-tree each before and after")  # fmt: skip
    add("--gateway-tree", type=Path, metavar="DIR", help="checkout whose gateway runs (default: this one)")
    add("--limits", default="", metavar="KEY=X,...", help="keys of [limits] of the gateway (default: its own)")
    add("--seed", type=int, default=default.seed, help="seed of every random choice (%(default)s)")
    add("--out", type=Path, default=default.out, metavar="DIR", help="output folder (%(default)s)")
    add("--simulated", action="store_true",
        help="in place of all this: a fleet of any size in simulated time; --simulated --help tells more")  # fmt: skip
    add("--unit-costs", action="store_true",
        help="in place of all this: what single things cost a gateway; --unit-costs --help tells more")  # fmt: skip
    add("--json", action="store_true", help="print only the JSON line")
    add("--record", action="store_true", help="keep the result in benchmarks/results/fleet.jsonl")
    options = parser.parse_args(argv)
    _check(parser, options)
    return options


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.devices < 1 or options.seconds <= 0 or options.delta_kb < 20 or options.think_s < 0:
        parser.error("expected 1 device, 20 kB and more, some seconds, and no negative time")
    if not (0 <= options.unruly <= 100 and 0 <= options.fetch <= 100):
        parser.error("--unruly and --fetch are per cent, 0 to 100")
    if options.gateway_tree is not None and not (options.gateway_tree / "broker_server").is_dir():
        parser.error(f"{options.gateway_tree} has no broker_server: it is no checkout of this project")


def load_of(options: argparse.Namespace) -> Load:
    """Return the run that the command line asks for."""
    offers = options.protocol == "offers" or (options.protocol == "auto" and options.gateway_tree is None)
    return Load(
        options.devices, options.broker, options.delta_kb, options.seconds, options.think_s, options.unruly / 100,
        options.fetch / 100, options.past_capacity, offers, options.gateway_tree, options.out, options.seed,
        tuple(pair.replace("=", " = ") for pair in options.limits.split(",") if pair),
    )  # fmt: skip


def loads(options: argparse.Namespace) -> list[Load]:
    """Return the runs that the command line asks for, one after another."""
    load = load_of(options)
    if not options.table:
        return [load]
    kinds = [
        replace(load, broker=broker, delta_kb=delta_kb, devices=devices, past_capacity=past)
        for broker in BROKERS
        for delta_kb, devices, past in TABLE
    ]
    after = [replace(kind, tree=None, offers=options.protocol != "chunks") for kind in kinds]
    return after if load.tree is None else [run for pair in zip(kinds, after, strict=True) for run in pair]


def measure(load: Load, console: Console) -> dict[str, Any]:
    """Run a fleet; return its figures.

    Raises:
        FederationError: when the gateway does not start or ends, or the system allows too few open files.
    """
    raise_files(load.devices)
    shutil.rmtree(load.out, ignore_errors=True)
    shape = shape_for(load.delta_kb)
    package = make_package(load.out / "package", shape)
    with Gateway(load, package.folder) as gateway:
        gateway.wait()
        fleet = Fleet(load, package, shape, gateway)
        figures = asyncio.run(fleet.run(console.print))
        figures["stop_s"] = round(gateway.stop(), 2)
    began = time.monotonic()
    with Gateway(load, package.folder) as again:
        again.wait()
        figures["restart_s"] = round(time.monotonic() - began, 2)
    state = kept.look(gateway.state, (one.digest for one in fleet.accepted()))
    figures["kept"] = dataclasses.asdict(state) | {"right": state.right}
    return how(load) | figures


def how(load: Load) -> dict[str, Any]:
    """Return what the figures of a run depend on."""
    keys = ("devices", "broker", "delta_kb", "seconds", "think_s", "unruly", "fetch", "past_capacity", "offers", "seed")
    before = load.tree is not None
    return {key: getattr(load, key) for key in (*keys, "limits")} | {
        "before": before,
        "gateway_commit": _commit(load.tree),
    }


def _commit(checkout: Path | None) -> str:
    if checkout is None:
        return record.commit()
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=checkout, check=False, capture_output=True, text=True
    )
    return head.stdout.strip() or "unknown"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 done, 1 the gateway failed or something was lost, 2 bad usage."""
    given = sys.argv[1:] if argv is None else list(argv)
    for flag, other in OTHERS.items():
        if flag in given:
            return other([word for word in given if word != flag])
    options = parse(given)
    console = Console(stderr=options.json, highlight=False)
    if not console.is_terminal:
        console.width = 120
    try:
        return max(_run(load, options, console) for load in loads(options))
    except FederationError as error:
        sys.stderr.write(f"fleet: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("fleet: interrupted; the gateway was stopped\n")
        return 130


def _run(load: Load, options: argparse.Namespace, console: Console) -> int:
    """Measure one load and tell; return 1 when something was lost."""
    figures = measure(load, console)
    console.print(page.figures_table(figures))
    if options.record:  # at once: what comes after may fail
        record.append("fleet", COMMAND, figures)
    sys.stdout.write(json.dumps(figures) + "\n")
    if not figures["kept"]["right"]:
        sys.stderr.write(f"fleet: an accepted delta is lost or counts twice: {figures['kept']}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
