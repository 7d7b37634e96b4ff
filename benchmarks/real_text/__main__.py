"""`python -m benchmarks.real_text`: prepare the arms of each set, run them in turns, print, keep."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks import record
from benchmarks.real_text import ABOUT, PADDED, WORK, accuracy, arms, energy, figures, rival_design, tables
from benchmarks.real_text.sets import DATA, SETS, is_there
from benchmarks.real_text.useful import Encoder
from benchmarks.seeds import RunError, run
from benchmarks.train_step.compare import interleaved
from edge_runtime.wire.errors import FederationError
from export.source import backbone as backbones

NAME: Final = "real_text"
DEFAULTS: Final = {"sets": ",".join(SETS), "arms": ",".join(ABOUT), "repeats": 3, "steps": 40, "threads": 2}
_CALLS: Final = 200
"""Of each method of prediction."""
QUICK: Final = {"sets": "clinc150", "arms": "packed,padded,cached,eager", "repeats": 1, "steps": 10}
EXAMPLES: Final = """examples:
  python -m benchmarks.real_text                                # every set and arm: an hour on 2 cores
  python -m benchmarks.real_text --quick                        # four arms on one set: minutes
  python -m benchmarks.real_text --sets clinc150 --threads 1 --json
  python -m benchmarks.real_text --record                       # keep it for docs/results.md
  python -m benchmarks.real_text --accuracy --seeds 3           # instead: time to a given accuracy
  python -m benchmarks.real_text --sorted --seeds 3             # instead: packing against sorted batches

exit codes: 0 done, 1 an arm failed (the others are shown, nothing is kept), 2 bad usage"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; ``--quick`` sets what was not said."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real_text",
        description="Training on real texts: examples a second, memory and energy of ours, packed and padded, and of"
        f" PyTorch with batches padded to their longest text. {WORK}",
        epilog="arms:\n" + "".join(f"  {name:13} {about}\n" for name, about in ABOUT.items()) + "\n" + EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sets", metavar="A,B", help=f"data sets (default: {DEFAULTS['sets']})")
    parser.add_argument("--arms", metavar="A,B", help="arms to measure (default: all)")
    parser.add_argument("--repeats", type=int, metavar="N", help=f"runs of each arm (default: {DEFAULTS['repeats']})")
    parser.add_argument(
        "--steps", type=int, metavar="N", help=f"timed batches of 16 texts of a run (default: {DEFAULTS['steps']})"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of every arm (default: 2)")
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA,
        metavar="DIR",
        help="folder of the data sets (default: ../shared/data); texts of a set that is not there are drawn with its"
        " recorded lengths",
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/real_text"), metavar="DIR", help="working folder (%(default)s)"
    )
    parser.add_argument("--exported", action="store_true", help="use the packages that an earlier run left in --folder")
    parser.add_argument("--quick", action="store_true", help="four arms on CLINC150, once, to see whether it works")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--accuracy",
        action="store_true",
        help=f"measure the time to a given accuracy on held-out text instead, on {', '.join(accuracy.TARGETS)}",
    )
    mode.add_argument(
        "--sorted", action="store_true", help="compare packing with sorted batches over padded tiers instead"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of these two (%(default)s)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=60,
        metavar="N",
        help="with --accuracy: begin no run after so long (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    parser.add_argument("--record", action="store_true", help="keep the result in benchmarks/results/real_text.jsonl")
    options = parser.parse_args(argv)
    for name, default in (DEFAULTS | (QUICK if options.quick else {})).items():
        if getattr(options, name) is None:
            setattr(options, name, default)
    options.sets, options.arms = tuple(options.sets.split(",")), tuple(options.arms.split(","))
    _check(parser, "--sets", options.sets, SETS)
    _check(parser, "--arms", options.arms, ABOUT)
    if min(options.repeats, options.steps, options.threads, options.seeds) < 1:
        parser.error("--repeats, --steps, --threads and --seeds must be at least 1")
    return options


def _check(parser: argparse.ArgumentParser, option: str, chosen: Sequence[str], known: Sequence[str] | Any) -> None:  # noqa: ANN401 - a mapping or a list
    if unknown := [name for name in chosen if name not in known]:
        parser.error(f"{option}: got {', '.join(unknown)}, expected some of {', '.join(known)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = parse(argv)
    try:
        result = measure_mode(options)
    except (RunError, FederationError) as error:
        sys.stderr.write(f"real_text: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("real_text: interrupted; nothing was kept\n")
        return 1
    if options.record and not result["failed"]:
        record.append(NAME, command(options), result)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        show(result, Console())
    return 1 if result["failed"] else 0


def measure_mode(options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that were asked for.

    Raises:
        RunError, FederationError: when a package cannot be made, or a run fails.
    """
    started = time.monotonic()
    if options.accuracy:
        result = {"accuracy": accuracy.measure(options)}
    elif options.sorted:
        result = {"sorted": rival_design.measure(options)}
    else:
        result = measure(options)
    about = {"work": WORK, "threads": options.threads, "extensions": record.extensions()}
    passed = {"seconds": round(time.monotonic() - started), "load": os.getloadavg()[0]}
    return {"failed": {}, **about, **result, **passed}


def show(result: dict[str, Any], console: Console) -> None:
    """Print the tables."""
    if not console.is_terminal:
        console.width = 130
    if "accuracy" in result:
        accuracy.show(result["accuracy"], console)
    elif "sorted" in result:
        rival_design.show(result["sorted"], console)
    else:
        tables.show(result, console)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures.

    Raises:
        RunError, FederationError: when a package cannot be made.
    """
    result: dict[str, Any] = {"sets": {}, "failed": {}}
    for name in options.sets:
        result["sets"][name], failed = of_set(name, options)
        result["failed"] |= {f"{name}: {arm}": line for arm, line in failed.items()}
    if "padded" in options.arms:
        result["prediction"] = _prediction(options)
    result |= {name: getattr(options, name) for name in ("repeats", "steps")}
    result["amx"] = any(one.startswith("amx") for one in record.extensions())
    return result | {"tells_energy": bool(energy.read())}


def _prediction(options: argparse.Namespace) -> dict[str, Any]:
    """Return ms of predicting one text of 8 tokens, from the padded package of the first set."""
    package = options.folder / options.sets[0] / f"package-{PADDED}"
    words = ["--package", str(package), "--calls", str(_CALLS), "--threads", str(options.threads)]
    times: dict[str, Any] = json.loads(run("prediction of one text", "benchmarks.real_text.one_text", words))
    return times


def of_set(name: str, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the figures of a set, and why arms failed."""
    plan = arms.Plan(name, options.arms, options.data, options.folder / name, options.steps, options.exported)
    prepared = arms.prepare(plan, say)
    runs, failed = interleaved(prepared.arms, options.repeats, options.threads, lambda line: say(f"{name}, {line}"))
    encoder, tier = encoder_sizes(), prepared.manifest.tiers[0]
    of_arms = {arm: figures.of_arm(arm, of_arm, encoder) for arm, of_arm in runs.items()}
    about = {"tokens_mean": prepared.tokens, "length": tier.seq_len, "rows": tier.rows}
    about["real"] = is_there(name, options.data)
    ratios = {"ratios": figures.ratios(of_arms), "ratios_cpu": figures.ratios(of_arms, "examples_cpu_s")}
    return {**about, "arms": of_arms, **ratios}, failed


def encoder_sizes() -> Encoder:
    """Return the sizes of the default backbone."""
    folder = backbones.find(None).folder
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return Encoder(config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"])


def say(line: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{line}\n")


def command(options: argparse.Namespace) -> str:
    """Return the command that measures the same."""
    words = ["python -m benchmarks.real_text --record"]
    words += [f"--{mode}" for mode in ("accuracy", "sorted") if getattr(options, mode)]
    lists = {"sets": ",".join(options.sets), "arms": ",".join(options.arms)}
    for name, default in DEFAULTS.items():
        value = lists.get(name, getattr(options, name))
        words += [f"--{name} {value}"] if value != default else []
    return " ".join(words)


if __name__ == "__main__":
    raise SystemExit(main())
