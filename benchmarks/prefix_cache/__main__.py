"""`python -m benchmarks.prefix_cache`: export both packages, time and compare them, print, keep the result."""

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
from benchmarks.prefix_cache import ARMS, BATCH, LAYERS, SEQ_LEN
from benchmarks.quantization import texts
from benchmarks.quantization.texts import SETS
from benchmarks.seeds import RunError, accuracies, run

DATA: Final = Path(__file__).parents[3] / "shared" / "data"
COMMAND: Final = "python -m benchmarks.prefix_cache"
JOINED: Final = 8
"""Texts joined to one for the timing, so that it fills all tokens: the most that a cache has to read."""
WORK: Final = "MiniLM, batch 8 x 64, 8 experts of rank 8 held, 4 trained, AdamW; all tokens of each text are real."
EXAMPLES: Final = """examples:
  python -m benchmarks.prefix_cache                        # two sets, three seeds: 15 minutes on 2 cores
  python -m benchmarks.prefix_cache --seeds 0              # times only
  python -m benchmarks.prefix_cache --record               # keep it for docs/results.md
  python -m benchmarks.prefix_cache --keep result.json     # the same for what --json printed on another machine

exit codes: 0 done (also when the data is not there), 1 the work failed, 2 bad usage"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prefix_cache",
        description="Time of a training step above a cached prefix, and what adapting the last layers only costs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sets", default="clinc150,trec", metavar="A,B", help="data sets (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each arm and set (%(default)s)")
    parser.add_argument(
        "--steps", type=int, default=400, metavar="N", help=f"training steps of {BATCH} texts each (%(default)s)"
    )
    parser.add_argument(
        "--test", type=int, default=1000, metavar="N", help="use at most N held-out texts (%(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="timed runs of each arm (%(default)s)")
    parser.add_argument("--timed", type=int, default=25, metavar="N", help="steps of a timed epoch (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads of each run (%(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at a time; timed ones run alone (%(default)s)"
    )
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help="folder of the data sets (default: ../shared/data)"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/prefix_cache"), metavar="DIR", help="working folder (%(default)s)"
    )
    parser.add_argument("--exported", action="store_true", help="use the packages that an earlier run left in --folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    parser.add_argument("--record", action="store_true", help="keep it in benchmarks/results/prefix_cache.jsonl")
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="only record a result that --json printed on another machine"
    )
    options = parser.parse_args(argv)
    options.sets = tuple(options.sets.split(","))
    unknown = [name for name in options.sets if name not in SETS]
    if unknown:
        parser.error(f"--sets: got {', '.join(unknown)}, expected some of {', '.join(SETS)}")
    counts = (options.steps, options.test, options.repeats, options.threads, options.jobs)
    if min(counts) < 1 or options.seeds < 0 or options.timed < 8:
        parser.error("--seeds must be at least 0, --timed 8, and the other numbers 1")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = parse(argv)
    if options.keep:
        return keep(options.keep)
    missing = [name for name in options.sets if not (options.data / name / SETS[name].train).is_file()]
    if missing:
        sys.stderr.write(f"prefix_cache: no {', '.join(missing)} in {options.data}; nothing was measured\n")
        return 0
    started = time.monotonic()
    try:
        result = measure(options)
    except RunError as error:
        sys.stderr.write(f"prefix_cache: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("prefix_cache: interrupted; nothing was kept\n")
        return 1
    result |= {"seconds": round(time.monotonic() - started), "machine": record.machine(), "commit": record.commit()}
    if options.record:
        record.append("prefix_cache", COMMAND, result)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        show(result, Console())
    return 0


def keep(path: Path) -> int:
    """Record a result that was printed on another machine."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        elsewhere = {name: result.pop(name) for name in ("machine", "commit")}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        sys.stderr.write(f"prefix_cache: {path} is not what --json printed ({error})\n")
        return 1
    record.append("prefix_cache", COMMAND, result, elsewhere)
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures.

    Raises:
        RunError: when an export or a run fails.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = {name: texts.read(options.data / name / SETS[name].train) for name in options.sets}
    labels = sorted({label for some in rows.values() for label in texts.labels(some)})
    (options.folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    packages = {name: _package(name, options) for name in LAYERS}
    result = {"work": WORK, **_timed(packages, rows[options.sets[0]], options)}
    result["sets"] = {name: _compared(name, packages, rows[name], options) for name in options.sets if options.seeds}
    return result | {name: getattr(options, name) for name in ("seeds", "steps", "test", "threads", "repeats")}


def _package(name: str, options: argparse.Namespace) -> Path:
    """Export a package with the labels of all sets (from the export cache when it was made before)."""
    out: Path = options.folder / f"package-{name}"
    if options.exported:
        return out
    words = ["--device", "linux-x86_64", "--tiers", f"4x{SEQ_LEN}", "--batch-size", str(BATCH)]
    words += ["--tokens", str(BATCH * SEQ_LEN)]  # the timed texts fill a row each
    words += ["--labels", str(options.folder / "labels.txt"), "--layers", LAYERS[name], "--out", str(out)]
    sys.stderr.write(f"exporting with --layers {LAYERS[name]} ...\n")
    run(f"export with --layers {LAYERS[name]}", "export.build", words)
    return out


def _timed(packages: Mapping[str, Path], rows: Sequence[texts.Row], options: argparse.Namespace) -> dict[str, Any]:
    """Return the medians of steps in turns: all layers, and the last two in the first epoch and from the second on."""
    count = options.timed * BATCH
    drawn = texts.chosen(rows, count * JOINED, 0)
    long = [
        (" ".join(text for text, _ in drawn[first : first + JOINED]), drawn[first][1])
        for first in range(0, len(drawn), JOINED)
    ][:count]
    train = texts.write(options.folder / "timed.csv", long)
    words = ["--train", str(train), "--steps", str(2 * -(-len(long) // BATCH)), "--threads", str(options.threads)]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in packages}
    for repeat in range(options.repeats):
        for name, package in packages.items():
            sys.stderr.write(f"timing {repeat + 1} of {options.repeats}: {LAYERS[name]} ...\n")
            line = run(f"timing of {name}", "benchmarks.prefix_cache.one_run", ["--package", str(package), *words])
            runs[name].append(json.loads(line))
    return times(runs) | {"cache_bytes_per_text": runs["last"][-1]["cache_bytes"] / len(long)}


def times(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Return each arm's median, peak memory and how many times faster than all layers it is."""
    picked = {"all": ("all", "later_ms"), "first": ("last", "first_ms"), "cached": ("last", "later_ms")}
    arms = {
        arm: {
            "ms_median": statistics.median(run[field] for run in runs[name]),
            "peak_rss_mib": statistics.median(run["peak_rss_mib"] for run in runs[name]),
        }
        for arm, (name, field) in picked.items()
    }
    base = arms["all"]["ms_median"]
    return {"arms": arms, "ratios": {arm: base / figures["ms_median"] for arm, figures in arms.items()}}


def _compared(
    name: str, packages: Mapping[str, Path], rows: Sequence[texts.Row], options: argparse.Namespace
) -> dict[str, Any]:
    """Return the accuracies of one set."""
    place = f"{options.folder / name}-"
    words = {arm: ("--package", str(packages[one]), "--rounding", rounding) for arm, (one, rounding) in ARMS.items()}
    module = "benchmarks.prefix_cache.one_run"
    return summary(accuracies(name, rows, place=place, module=module, arms=words, batch=BATCH, options=options))


def summary(accuracies: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return accuracies by seed, mean, standard deviation, and points lost against all layers, for each arm."""
    base = statistics.fmean(accuracies["all"])
    return {
        arm: {
            "accuracy": list(values),
            "mean": statistics.fmean(values),
            "spread": statistics.stdev(values) if len(values) > 1 else 0.0,
            "points_lost": 100 * (base - statistics.fmean(values)),
        }
        for arm, values in accuracies.items()
    }


ABOUT: Final = {
    "all": "all layers, no cache",
    "first": "last 2 layers, first epoch",
    "cached": "last 2 layers, from the second epoch on",
    "int8": "last 2 layers, cache int8",
    "fp16": "last 2 layers, cache fp16",
}


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print both tables."""
    table = Table(box=None, pad_edge=False, title=result["work"])
    for column in ("step", "ms", "times as fast", "peak memory, MiB"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for arm, figures in result["arms"].items():
        speed = f"{result['ratios'][arm]:.2f}"
        table.add_row(ABOUT[arm], f"{figures['ms_median']:.1f}", speed, f"{figures['peak_rss_mib']:.0f}")
    console.print(table)
    if not result["sets"]:
        return
    table = Table(
        box=None, pad_edge=False, title=f"held-out accuracy, %, after {result['steps']} steps of {BATCH} texts"
    )
    for column in ("set", "experts", "mean", "± (seeds)", "points lost"):
        table.add_column(column, justify="left" if column in ("set", "experts") else "right")
    for name, arms in result["sets"].items():
        for arm, figures in arms.items():
            lost = "" if arm == "all" else f"{figures['points_lost']:+.2f}"
            table.add_row(name, ABOUT[arm], f"{100 * figures['mean']:.2f}", f"{100 * figures['spread']:.2f}", lost)
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(main())
