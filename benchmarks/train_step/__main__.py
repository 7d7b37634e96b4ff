"""`python -m benchmarks.train_step`: prepare the arms, run them in turns, print, draw, keep."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import record
from benchmarks.train_step import arms, bundle
from benchmarks.train_step.arms import ABOUT, WORK, Plan
from benchmarks.train_step.compare import FLOOR, OURS, ArmError, interleaved, summary
from edge_runtime.wire.errors import FederationError

EXAMPLES = """examples:
  python -m benchmarks.train_step                               # every arm; the first time lowers for minutes
  python -m benchmarks.train_step --arms ours,floor,eager       # some of them
  python -m benchmarks.train_step --threads 1 --json            # one JSON object on stdout
  python -m benchmarks.train_step --record                      # keep it for docs/results.md
  python -m benchmarks.train_step --bundle /tmp/step            # for a machine with torch, transformers and numpy

exit codes: 0 done, 1 an arm failed (the others are shown, nothing is kept), 2 bad usage"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train_step",
        description=f"Measure one training step in every way there is, each in its own process. {WORK}",
        epilog="arms:\n" + "".join(f"  {name:15} {about}\n" for name, about in ABOUT.items()) + "\n" + EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arms", default=",".join(ABOUT), metavar="A,B", help="arms to measure (default: all)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each arm (%(default)s)")
    parser.add_argument("--steps", type=int, default=15, metavar="N", help="timed steps of a run (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads of every arm (%(default)s)")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/train_step"), metavar="DIR", help="working folder (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--record", action="store_true", help="keep the result in benchmarks/results/train_step.jsonl")
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="DIR",
        help=f"write a folder with which another machine measures {', '.join(bundle.ARMS)}",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="keep what a bundle's run.py printed, as --record does"
    )
    options = parser.parse_args(argv)
    options.arms = tuple(options.arms.split(","))
    unknown = [name for name in options.arms if name not in ABOUT]
    if unknown:
        parser.error(f"--arms: got {', '.join(unknown)}, expected some of {', '.join(ABOUT)}")
    if min(options.repeats, options.steps, options.threads) < 1:
        parser.error("--repeats, --steps and --threads must be at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = parse(argv)
    if options.keep:
        print(f"kept in {keep(options.keep)}")
        return 0
    console = Console(stderr=True, highlight=False)
    try:
        result = measure(options, console)
    except (ArmError, FederationError) as error:
        sys.stderr.write(f"train_step: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("train_step: interrupted; nothing was kept\n")
        return 1
    if not result:
        return 0
    if options.record and not result["failed"]:
        record.append("train_step", _command(options), result)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        show(result, Console())
    return 1 if result["failed"] else 0


def measure(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run the arms and draw the chart; nothing is run when a bundle is asked for.

    Raises:
        ArmError, FederationError: when an arm cannot be made or fails.
    """
    with console.status("") as status:

        def say(line: str) -> None:
            if console.is_terminal:
                status.update(line)
            else:
                console.print(line)

        plan = Plan(options.arms, options.folder, options.steps)
        if options.bundle:
            console.print(f"bundle: {bundle.write(options.bundle, plan, say)}")
            return {}
        ready, unmade = arms.prepare(plan, say)
        runs, failed = interleaved(ready, options.repeats, options.threads, say)
    result = {"work": WORK, **summary(ready, runs), "failed": unmade | failed}
    result |= {"repeats": options.repeats, "steps": options.steps, "threads": options.threads}
    result["extensions"] = record.extensions()
    from benchmarks.train_step import chart  # noqa: PLC0415 - matplotlib takes a second

    for path in chart.draw(result, ABOUT, options.folder / "train_step"):
        console.print(f"chart: {path}")
    return result


def show(result: dict[str, Any], console: Console) -> None:
    """Print the table."""
    if not console.is_terminal:
        console.width = 120
    table = Table(box=None, pad_edge=False, title=result["work"], title_justify="left")
    for name in ("arm", "what", "ms", "min", "CPU ms", "peak MiB", "file MB", "time ÷ ours"):
        table.add_column(name, justify="left" if name in ("arm", "what") else "right", no_wrap=True)
    ours = result["arms"].get(OURS)
    for name, arm in sorted(result["arms"].items(), key=lambda item: item[1]["ms_median"]):
        ratio = f"{arm['ms_median'] / ours['ms_median']:.2f}" if ours else ""
        figures = [f"{arm[key]:.1f}" for key in ("ms_median", "ms_min", "cpu_ms_median")]
        row = (*figures, f"{arm['peak_rss_mib']:.0f}", f"{arm['file_mb']:.1f}", ratio)
        table.add_row(name, ABOUT[name], *row, style="bold" if name == OURS else "")
    console.print(table)
    if FLOOR in result["ratios"]:
        console.print(f"ours ÷ floor: {result['ratios'][FLOOR]:.2f}")
    for line in result["failed"].values():
        console.print(f"failed: {line}", style="red")
    console.print(f"{record.machine()}; {', '.join(result['extensions'])}; {result['threads']} threads")


def keep(file: Path) -> Path:
    """Add to the records what a bundle's run.py printed (its last line) on another machine; return their file."""
    result = json.loads(file.read_text(encoding="utf-8").splitlines()[-1])
    origin = {name: result.pop(name) for name in ("machine", "commit")}
    return record.append(
        "train_step", "python run.py, in what python -m benchmarks.train_step --bundle made", result, origin
    )


def _command(options: argparse.Namespace) -> str:
    words = ["python -m benchmarks.train_step --record"]
    if options.arms != tuple(ABOUT):
        words.append(f"--arms {','.join(options.arms)}")
    words += [f"--{name} {getattr(options, name)}" for name, default in _DEFAULTS if getattr(options, name) != default]
    return " ".join(words)


_DEFAULTS = (("repeats", 3), ("steps", 15), ("threads", 2))

if __name__ == "__main__":
    raise SystemExit(main())
