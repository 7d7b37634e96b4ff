"""`python -m benchmarks.quantization`: export the packages, make the runs, print the table, keep the result."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import record
from benchmarks.quantization import ARMS, BASE, texts
from benchmarks.quantization.texts import SETS
from benchmarks.seeds import RunError, accuracies, run

DATA: Final = Path(__file__).parents[3] / "shared" / "data"
BATCH: Final = 8
EXAMPLES: Final = """examples:
  python -m benchmarks.quantization                          # three sets, three seeds: 20 minutes on 2 cores
  python -m benchmarks.quantization --sets trec --seeds 1 --steps 100
  python -m benchmarks.quantization --record                 # keep it for docs/results.md

exit codes: 0 done (also when the data is not there), 1 the work failed, 2 bad usage"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quantization",
        description="Held-out accuracy after training in programs whose frozen weights are rounded, and in float32.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sets", default=",".join(SETS), metavar="A,B", help="data sets (%(default)s)")
    parser.add_argument(
        "--arms", default=",".join(ARMS), metavar="A,B", help="precisions of frozen weights (%(default)s)"
    )
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="runs of each precision and set (%(default)s)"
    )
    parser.add_argument(
        "--steps", type=int, default=400, metavar="N", help=f"training steps of {BATCH} texts each (%(default)s)"
    )
    parser.add_argument(
        "--test", type=int, default=1000, metavar="N", help="use at most N held-out texts (%(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads of each run (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (%(default)s)")
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help="folder of the data sets (default: ../shared/data)"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/quantization"), metavar="DIR", help="working folder (%(default)s)"
    )
    parser.add_argument("--exported", action="store_true", help="use the packages that an earlier run left in --folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--record", action="store_true", help="keep it in benchmarks/results/quantization.jsonl")
    options = parser.parse_args(argv)
    options.sets, options.arms = tuple(options.sets.split(",")), tuple(options.arms.split(","))
    for name, chosen, choices in (("--sets", options.sets, tuple(SETS)), ("--arms", options.arms, ARMS)):
        unknown = [one for one in chosen if one not in choices]
        if unknown:
            parser.error(f"{name}: got {', '.join(unknown)}, expected some of {', '.join(choices)}")
    if min(options.seeds, options.steps, options.test, options.threads, options.jobs) < 1:
        parser.error("--seeds, --steps, --test, --threads and --jobs must be at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = parse(argv)
    missing = [name for name in options.sets if not (options.data / name / SETS[name].train).is_file()]
    if missing:
        sys.stderr.write(f"quantization: no {', '.join(missing)} in {options.data}; nothing was measured\n")
        return 0
    started = time.monotonic()
    try:
        sets = {name: measure(name, options) for name in options.sets}
    except RunError as error:
        sys.stderr.write(f"quantization: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("quantization: interrupted; nothing was kept\n")
        return 1
    result = {"sets": sets, "seconds": round(time.monotonic() - started)}
    result |= {name: getattr(options, name) for name in ("seeds", "steps", "test", "threads")}
    if options.record:
        record.append("quantization", "python -m benchmarks.quantization --record", result)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        show(result, Console())
    return 0


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one set.

    Raises:
        RunError: when an export or a run fails.
    """
    source, folder = SETS[name], options.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    rows = texts.read(options.data / name / source.train)
    (folder / "labels.txt").write_text("\n".join(texts.padded(texts.labels(rows))) + "\n", encoding="utf-8")
    for arm in () if options.exported else options.arms:
        export(arm, folder)
    words = {arm: ("--package", str(folder / f"package-{arm}")) for arm in options.arms}
    module = "benchmarks.quantization.one_run"
    return summary(accuracies(name, rows, place=f"{folder}/", module=module, arms=words, batch=BATCH, options=options))


def export(arm: str, folder: Path) -> None:
    """Make a set's package of one kind (from the export cache when it was made before)."""
    words = ["--device", "linux-x86_64", "--train-slots", "4", "--batch-size", str(BATCH), "--seq-len", "64"]
    words += ["--labels", str(folder / "labels.txt"), "--quantize", arm]
    words += ["--out", str(folder / f"package-{arm}")]
    sys.stderr.write(f"{folder.name}: exporting with --quantize {arm} ...\n")
    run(f"export of {folder.name} with --quantize {arm}", "export.build", words)


def summary(accuracies: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return, for each arm, accuracies by seed, their mean and standard deviation, and points lost against float32."""
    base = statistics.fmean(accuracies[BASE]) if BASE in accuracies else None
    return {
        arm: {
            "accuracy": list(values),
            "mean": statistics.fmean(values),
            "spread": statistics.stdev(values) if len(values) > 1 else 0.0,
            "points_lost": None if base is None else 100 * (base - statistics.fmean(values)),
        }
        for arm, values in accuracies.items()
    }


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print the table."""
    table = Table(
        box=None, pad_edge=False, title=f"held-out accuracy, %, after {result['steps']} steps of {BATCH} texts"
    )
    for column in ("set", "frozen weights", "mean", "± (seeds)", "points lost"):
        table.add_column(column, justify="left" if column in ("set", "frozen weights") else "right")
    for name, arms in result["sets"].items():
        for arm, figures in arms.items():
            lost = "" if figures["points_lost"] is None or arm == BASE else f"{figures['points_lost']:+.2f}"
            kind = "float32" if arm == BASE else arm
            table.add_row(name, kind, f"{100 * figures['mean']:.2f}", f"{100 * figures['spread']:.2f}", lost)
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(main())
