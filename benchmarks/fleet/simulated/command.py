"""`python -m benchmarks.fleet --simulated`: a fleet of any size around the real gateway's parts, in simulated time."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import record
from benchmarks.federation.fleet import SHARES
from benchmarks.fleet.simulated import page
from benchmarks.fleet.simulated.assumed import LIGHT, Assumed
from benchmarks.fleet.simulated.run import Scenario, Simulation
from edge_runtime.wire.errors import FederationError

NAME: Final = "simulated_fleet"
COMMAND: Final = "python -m benchmarks.fleet --simulated"
PROFILES: Final = ("shipped", *SHARES, LIGHT)
EXAMPLES: Final = """examples:
  python -m benchmarks.fleet --simulated                        six hours of 100,000 devices
  python -m benchmarks.fleet --simulated --devices 1000 --cohort 100 --rounds 5 --every-s 0
  python -m benchmarks.fleet --simulated --every-s 3600         a whole day
  python -m benchmarks.fleet --simulated --assume drop=0.3,lost=0.1
  python -m benchmarks.fleet --simulated --record

Ctrl-C ends it and tells what came of it so far.
exit codes: 0 done, 1 the work failed or a delta is lost, 2 bad usage, 130 interrupted"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line, without ``--simulated``."""
    default = Scenario()
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Devices as state machines on a simulated clock, around the real reception, rounds, ledger and "
        "spool of a gateway: rounds, coverage, staleness, bytes, time, and the gateway's processor time and memory.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--devices", type=int, default=default.devices, metavar="N", help="in all, here or away (%(default)s)")
    add("--rounds", type=int, default=default.rounds, metavar="N", help="after which it ends (%(default)s)")
    add("--cohort", type=int, default=default.cohort, metavar="N",
        help="devices that a round plans for; 0: all that are ready (%(default)s)")  # fmt: skip
    add("--every-s", type=float, default=default.every_s, metavar="S",
        help="from one round's opening to the next at least (%(default)s)")  # fmt: skip
    add("--deadline-s", type=float, default=default.deadline_s, metavar="S", help="of a round (%(default)s)")
    add("--delta-kb", type=int, default=default.delta_kb, metavar="KB", help="of an int8 delta (%(default)s)")
    add("--profile", choices=PROFILES, default=default.profile, help="of the devices (%(default)s: a mixed fleet)")
    add("--line-mbit", type=float, default=default.line_mbit, metavar="X",
        help="the gateway's line, each way, 10^6 bits a second (%(default)s)")  # fmt: skip
    keys = ", ".join(field.name for field in fields(Assumed))
    add("--assume", default="", metavar="KEY=X,...", help=f"instead of what is assumed of devices: {keys}")
    add("--seed", type=int, default=default.seed, help="of all that is drawn (%(default)s)")
    add("--out", type=Path, default=default.out, metavar="DIR", help="output folder (%(default)s)")
    add("--json", action="store_true", help="print only the JSON line")
    add("--record", action="store_true", help=f"keep the result in benchmarks/results/{NAME}.jsonl")
    options = parser.parse_args(argv)
    if min(options.devices, options.rounds) < 1 or options.delta_kb < 20 or options.line_mbit <= 0:
        parser.error("expected 1 device and round, 20 kB and some line, or more")
    try:
        options.assumed = assumed(options.assume)
    except ValueError as error:
        parser.error(f"--assume: {error}")
    return options


def assumed(text: str) -> Assumed:
    """Return what is assumed of devices. Args: text: "key=number,..." in place of defaults.

    Raises:
        ValueError: for an unknown key, or what is no number of 0 or more.
    """
    values = {}
    known = {field.name for field in fields(Assumed)}
    for pair in filter(None, text.split(",")):
        key, _, value = pair.partition("=")
        if key not in known:
            raise ValueError(f"nothing is assumed of {key!r}")
        values[key] = float(value)
        if not values[key] >= 0:
            raise ValueError(f"{key} {value}, expected 0 or more")
    result = replace(Assumed(), **values)
    if not 0 < result.here_least <= result.here_most <= 1:
        raise ValueError(f"here_least {result.here_least} to here_most {result.here_most}, expected over 0 to 1")
    return result


def scenario(options: argparse.Namespace) -> Scenario:
    """Return what the command line asks for."""
    return Scenario(**{field.name: getattr(options, field.name) for field in fields(Scenario)})


def main(argv: Sequence[str] | None) -> int:
    """Simulate; 0 done, 1 the work failed or a delta is lost, 2 bad usage, 130 interrupted."""
    options = parse(argv)
    console = Console(stderr=options.json, highlight=False)
    if not console.is_terminal:
        console.width = 120
    try:
        figures = measure(scenario(options), console)
    except FederationError as error:
        sys.stderr.write(f"fleet: {error}\n")
        return 1
    console.print(page.figures_table(figures))
    if options.record and figures["finished"]:
        record.append(NAME, " ".join([COMMAND, *(argv or [])]), figures)
    sys.stdout.write(json.dumps(figures) + "\n")
    if not figures["right"]:
        sys.stderr.write("fleet: a delta that a device was told is accepted is not in the ledger\n")
        return 1
    if not figures["finished"]:
        sys.stderr.write("fleet: interrupted; these are the figures so far\n")
    return 0 if figures["finished"] else 130


def measure(one: Scenario, console: Console) -> dict[str, Any]:
    """Simulate a scenario, with a bar of its rounds; return its figures, also after Ctrl-C.

    Raises:
        FederationError: when the settings cannot be used, or the disk refuses.
    """
    columns = (TextColumn("round"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("devices are made", total=one.rounds)

        def tell(event: dict[str, Any]) -> None:
            hours, here = simulation.clock.now / 3600, len(simulation.network.connected)
            text = f"{hours:.1f} h, {here:,} here, {event['accepted']:,} of {event['planned']:,} deltas"
            progress.update(bar, advance=1, description=text)

        simulation = Simulation(one, tell)
        progress.update(bar, description="the first round gathers")
        try:
            simulation.run()
        except KeyboardInterrupt:
            progress.update(bar, description="interrupted")
        return simulation.close()
