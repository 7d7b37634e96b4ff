"""`python -m benchmarks.attacks`: prepare, run each attack without and with its defence, print, keep the result."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import record
from benchmarks.attacks.attacks import ACCURACY, ATTACKS, BY_NAME, undisturbed
from benchmarks.attacks.federation import Ground
from benchmarks.demo import settings as demo
from benchmarks.demo import stages
from benchmarks.demo.processes import Processes
from edge_runtime.wire.errors import FederationError
from edge_runtime.wire.manifest import Package

COMMAND: Final = "python -m benchmarks.attacks"
RATE: Final = "0.002"
"""Learning rate of the first round, as in the results that are kept; a demo of today has another."""
NAMES: Final = ", ".join(attack.name for attack in ATTACKS)
EXAMPLES: Final = """examples:
  python -m benchmarks.attacks                                 all of them: half an hour on 2 cores
  python -m benchmarks.attacks --only examples,flip --rounds 3
  python -m benchmarks.attacks --only sybils --seconds 120
  python -m benchmarks.attacks --before ../old --record        undefended: the gateway of another checkout

exit codes: 0 done, 1 the work failed, 2 bad usage"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="A federation of the demo's texts under attack: accuracy and rounds a minute when nobody attacks, "
        f"when the gateway believes everybody, and with its defences. Attacks: {NAMES}.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", metavar="A,B", help="these attacks (default: all)")
    parser.add_argument("--devices", type=int, default=6, metavar="N", help="devices, one of which lies (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of an accuracy (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=60.0, metavar="S", help="that rounds are counted (%(default)s)"
    )
    parser.add_argument(
        "--before", type=Path, metavar="DIR", help="checkout whose gateway is the undefended one (default: this one, "
        "with the limits that a configuration can switch off)",
    )  # fmt: skip
    parser.add_argument("--packages", type=Path, metavar="DIR", help="made by an earlier run (default: export them)")
    parser.add_argument(
        "--limits", default="", metavar="KEY=X,...", help="keys of [limits] of the defended gateway (default: its own)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/attacks"), metavar="DIR", help="output folder (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    parser.add_argument("--record", action="store_true", help="keep the results in benchmarks/results/attacks.jsonl")
    options = parser.parse_args(argv)
    unknown = sorted(set(_chosen(options.only)) - set(BY_NAME))
    if unknown:
        parser.error(f"no attack {', '.join(unknown)}; there are: {NAMES}")
    if options.devices < 3 or options.rounds < 1 or options.seconds <= 0:
        parser.error(f"{options.devices} devices, {options.rounds} rounds, {options.seconds} s: expected 3, 1 and more")
    return options


def _chosen(only: str) -> list[str]:
    return [name for name in only.split(",") if name] or list(BY_NAME)


def prepare(options: argparse.Namespace, console: Console) -> Ground:
    """Split the demo's texts, export its packages.

    Raises:
        FederationError: when a stage fails.
    """
    shutil.rmtree(options.out, ignore_errors=True)
    arguments = ["--devices", str(options.devices), "--rounds", str(options.rounds), "--out", str(options.out)]
    settings = demo.parse([*arguments, "--rate", RATE])
    settings.out.mkdir(parents=True)
    with Processes(settings.out / "logs") as processes:
        data = stages.prepare(settings)
        if options.packages is not None:
            packages = {name: Package.open(options.packages / name) for name in demo.PROFILES}
        else:
            packages = stages.export_packages(settings, data, processes, console)
    limits = [pair.replace("=", " = ") for pair in options.limits.split(",") if pair]
    return Ground(settings, data, packages, options.before, limits)


def measure(options: argparse.Namespace, ground: Ground, console: Console) -> list[dict[str, Any]]:
    """Run the attacks; each result has its attack, the three figures and their unit.

    Raises:
        FederationError: when a run fails.
    """
    peace: dict[str, float] = {}
    results = []
    for name in _chosen(options.only):
        attack = BY_NAME[name]
        if attack.unit not in peace:
            peace[attack.unit] = undisturbed(ground, attack.unit, options.seconds)
            console.print(f"undisturbed: {attack.unit} {_shown(peace[attack.unit], attack.unit)}")
        figures = {}
        for label, defended in (("undefended", False), ("defended", True)):
            figures[label] = attack.measure(ground, defended, options.seconds)
            console.print(f"{attack.name}, {label}: {attack.unit} {_shown(figures[label], attack.unit)}")
        about = {"attack": name, "what": attack.what, "undisturbed": peace[attack.unit], **figures, "unit": attack.unit}
        if options.record:  # at once: what comes after may fail
            record.append("attacks", COMMAND, about | how(options))
        results.append(about)
    return results


def how(options: argparse.Namespace) -> dict[str, Any]:
    """Return what all figures of a run depend on."""
    keys = ("devices", "rounds", "seconds", "limits")
    return {key: getattr(options, key) for key in keys} | {"undefended_commit": _commit(options.before)}


def _shown(figure: float, unit: str) -> str:
    return f"{100 * figure:.1f} %" if unit == ACCURACY else f"{figure:.2f}"


def _commit(checkout: Path | None) -> str:
    if checkout is None:
        return ""
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=checkout, check=False, capture_output=True, text=True
    )
    return head.stdout.strip() or "unknown"


def report(results: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the table."""
    table = Table("attack", "", "undisturbed", "undefended", "defended", box=None, pad_edge=False)
    for one in results:
        figures = [_shown(one[key], one["unit"]) for key in ("undisturbed", "undefended", "defended")]
        table.add_row(one["what"], one["unit"], *figures)
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 done, 1 a run failed, 2 bad usage."""
    options = parse(argv)
    console = Console(stderr=options.json, highlight=False)
    if not console.is_terminal:
        console.width = 120
    try:
        results = measure(options, prepare(options, console), console)
    except FederationError as error:
        sys.stderr.write(f"attacks: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("attacks: interrupted; every process was stopped\n")
        return 130
    report(results, console)
    sys.stdout.write(json.dumps({"attacks": results, **how(options)}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
