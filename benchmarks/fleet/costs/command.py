"""`python -m benchmarks.fleet --unit-costs`: what single things cost a gateway, for the table of docs/results.md."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks import record
from benchmarks.fleet.costs import connections, measuring, page
from benchmarks.fleet.costs.units import NAME
from edge_runtime.wire.errors import FederationError

COMMAND: Final = "python -m benchmarks.fleet --unit-costs"
EXAMPLES: Final = """examples:
  python -m benchmarks.fleet --unit-costs
  python -m benchmarks.fleet --unit-costs --devices 50000 --record

The table of docs/results.md takes the others from python -m benchmarks.fleet, ... --simulated, benchmarks.fold and
benchmarks.broker, each with --record.
exit codes: 0 done, 1 the work failed, 2 bad usage, 130 interrupted"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line, without ``--unit-costs``."""
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Bytes, memory and processor time of a device, a delta and a connection: ledger, disk, roster, "
        "planner and embedded broker, each measured apart.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--devices", type=int, default=20_000, metavar="N", help="in the ledger and in memory (%(default)s)")
    add("--connections", type=int, default=300, metavar="N", help="to the broker, plain and over TLS (%(default)s)")
    add("--delta-kb", type=int, default=100, metavar="KB", help="of an int8 delta (%(default)s)")
    add("--out", type=Path, default=Path("runs/unit-costs"), metavar="DIR",
        help="output folder, on the disk whose speed is wanted (%(default)s)")  # fmt: skip
    add("--json", action="store_true", help="print only the JSON line")
    add("--record", action="store_true", help=f"keep the result in benchmarks/results/{NAME}.jsonl")
    options = parser.parse_args(argv)
    if min(options.devices, options.connections) < 1 or options.delta_kb < 20:
        parser.error("expected 1 device and connection, and 20 kB, or more")
    return options


def main(argv: Sequence[str] | None) -> int:
    """Measure; 0 done, 1 the work failed, 2 bad usage, 130 interrupted."""
    options = parse(argv)
    console = Console(stderr=options.json, highlight=False)
    shutil.rmtree(options.out, ignore_errors=True)
    try:
        figures = measuring.measure(options.out, options.devices, options.delta_kb, console.print)
        console.print(f"{options.connections:,} connections, plain and over TLS")
        figures |= connections.measure(options.out / "identities", options.connections)
    except (FederationError, TimeoutError) as error:
        sys.stderr.write(f"unit costs: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    figures = {key: getattr(options, key) for key in ("devices", "connections", "delta_kb")} | figures
    grid = Table("", "", box=None, pad_edge=False, show_header=False)
    for row in page.figures_of(figures):
        grid.add_row(*row)
    console.print(grid)
    if options.record:
        record.append(NAME, " ".join([COMMAND, *(argv or [])]), figures)
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0
