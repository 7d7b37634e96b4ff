"""`python -m benchmarks.usual_tools`: choose settings on held-back texts, run the arms in turns, print, keep."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from benchmarks import record
from benchmarks.quantization import texts
from benchmarks.real_text.sets import DATA
from benchmarks.seeds import RunError
from benchmarks.usual_tools import ABOUT, LOGISTIC, LORA, LORA_EVERYWHERE, OURS, WORK, arms, choosing, figures, page
from benchmarks.usual_tools.choosing import Rate
from edge_runtime.wire.errors import FederationError
from export.source import backbone as backbones

TRAIN: Final = "trec/train.csv"
TEST: Final = "trec/test.csv"
DEFAULTS: Final = {"rates": "0.002,0.004,0.008,0.004:0.004", "lora_rates": "0.001,0.002,0.003,0.005,0.01"}
NUMBERS: Final = {"seeds": 2, "threads": 2, "jobs": 1}
EXAMPLES: Final = """examples:
  python -m benchmarks.usual_tools                                  # TREC, 25 minutes on 2 idle cores
  python -m benchmarks.usual_tools --data my.csv --test held-out.csv --json
  python -m benchmarks.usual_tools --exported --rates 0.004 --lora-rates 0.001    # choose nothing again
  python -m benchmarks.usual_tools --record                         # keep it for docs/results.md and README.md

exit codes: 0 done, 1 an arm failed (nothing is kept), 2 bad usage"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.usual_tools",
        description=f"Accuracy beside cost, with usual tools and with ours. {WORK}".replace("%", "%%"),
        epilog="arms:\n" + "".join(f"  {name:9} {about}\n" for name, about in ABOUT.items()) + "\n" + EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    about_csv = "CSV with the columns text and label"
    parser.add_argument(
        "--data", type=Path, default=DATA / TRAIN, metavar="FILE", help=f"{about_csv} (default: ../shared/data/{TRAIN})"
    )
    parser.add_argument(
        "--test",
        type=Path,
        default=DATA / TEST,
        metavar="FILE",
        help=f"held-out texts (default: {TEST} there)",
    )
    rates = "learning rates to choose from, each BODY or BODY:HEAD (%(default)s); one is taken as it is"
    parser.add_argument("--rates", default=DEFAULTS["rates"], metavar="A,B", help=f"ours: {rates}")
    parser.add_argument(
        "--lora-rates", default=DEFAULTS["lora_rates"], metavar="A,B", help="both forms of LoRA: the same, BODY only"
    )
    parser.add_argument("--seeds", type=int, default=NUMBERS["seeds"], metavar="N", help="of each arm (%(default)s)")
    parser.add_argument(
        "--threads", type=int, default=NUMBERS["threads"], metavar="N", help="of each process (%(default)s)"
    )
    parser.add_argument(
        "--jobs", type=int, default=NUMBERS["jobs"], metavar="N", help="seeds that run side by side (%(default)s)"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/usual_tools"), metavar="DIR", help="working folder (%(default)s)"
    )
    parser.add_argument(
        "--exported", action="store_true", help="use the package and the choices that an earlier run left in --folder"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    parser.add_argument("--record", action="store_true", help="keep the result in benchmarks/results/usual_tools.jsonl")
    options = parser.parse_args(argv)
    try:
        options.candidates = {
            LORA: [Rate.parse(rate) for rate in options.lora_rates.split(",")],
            LORA_EVERYWHERE: [Rate.parse(rate) for rate in options.lora_rates.split(",")],
            OURS: [Rate.parse(rate) for rate in options.rates.split(",")],
        }
    except ValueError as error:
        parser.error(f"--rates, --lora-rates: {error}")
    if any(rate.head is not None for rate in options.candidates[LORA]):
        parser.error("--lora-rates: expected BODY only; peft has one rate for LoRA and head")
    if min(options.seeds, options.threads, options.jobs) < 1:
        parser.error("--seeds, --threads and --jobs must be at least 1")
    for option, path in (("--data", options.data), ("--test", options.test)):
        if not path.is_file():
            parser.error(f"{option} {path}: no such file")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = parse(argv)
    try:
        result = measure(options)
    except (RunError, FederationError) as error:
        sys.stderr.write(f"usual_tools: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("usual_tools: interrupted; nothing was kept\n")
        return 1
    if options.record:
        record.append(page.NAME, command(options), result)
    sys.stdout.write(json.dumps(result) + "\n" if options.json else f"{page.readme(result)}\n{page.chosen(result)}")
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures.

    Raises:
        RunError, FederationError: when the package cannot be made, or a run fails.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    load = [os.getloadavg()[0]]
    package = options.folder / "package"
    if not options.exported:
        say("exporting the package ...")
        arms.export(options.data, package)
    every = arms.Arms(package, backbones.find(None).folder, options.threads)
    choices = {name: choose(name, every, options) for name in (LORA, LORA_EVERYWHERE, OURS)}
    chosen = {name: Rate.parse(choosing.best(of_arm)) for name, of_arm in choices.items()}
    load.append(os.getloadavg()[0])
    runs = in_turns(every, arms.Files(options.data, options.test), chosen, options)
    load.append(os.getloadavg()[0])
    told = {name: figures.of_arm(of_arm) for name, of_arm in runs.items()}
    for name, of_arm in choices.items():
        tried = of_arm if len(of_arm) > 1 else {}
        told[name] |= {"choices": tried, "chosen": str(chosen[name])}
    told[LOGISTIC] |= {name: runs[LOGISTIC][0][name] for name in ("choices", "chosen")}
    about = {name: getattr(options, name) for name in NUMBERS} | counts(options)
    about |= {"cores": os.cpu_count(), "load": load, "extensions": record.extensions()}
    return {"work": WORK, "arms": told, "ratios": figures.ratios(runs), **about}


def counts(options: argparse.Namespace) -> dict[str, Any]:
    """Return the name and sizes of the data."""
    train, test = texts.read(options.data), texts.read(options.test)
    return {
        "data": options.data.resolve().parent.name,
        "train": len(train),
        "test": len(test),
        "labels": len(texts.labels(train)),
    }


def choose(name: str, every: arms.Arms, options: argparse.Namespace) -> dict[str, float]:
    """Return the accuracy of each candidate on held-back texts, by rate; of a single one nothing is measured: 0.

    What was measured is kept in the folder with a digest of the texts, for ``--exported``.
    """
    candidates: list[Rate] = options.candidates[name]
    if len(candidates) == 1:
        return {str(candidates[0]): 0.0}
    path = options.folder / "choices.json"
    kept: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    learned, held = choosing.hold_back(texts.read(options.data))
    key = f"{name} {choosing.digest([*learned, *held])}"
    known = kept.get(key, {}) if options.exported else {}
    files = arms.Files(
        texts.write(options.folder / "kept.csv", learned), texts.write(options.folder / "held-back.csv", held)
    )
    for rate in [rate for rate in candidates if str(rate) not in known]:
        known[str(rate)] = every.run(name, files, 0, rate)["accuracy"]
        say(f"{name}, rate {rate}: {100 * known[str(rate)]:.1f} % of held-back texts")
        path.write_text(json.dumps(kept | {key: known}), encoding="utf-8")
    return {str(rate): known[str(rate)] for rate in candidates}


def in_turns(
    every: arms.Arms, files: arms.Files, chosen: Mapping[str, Rate], options: argparse.Namespace
) -> dict[str, list[dict[str, Any]]]:
    """Return the runs of each arm, by seed: in a seed every arm has its turn."""

    def turn(seed: int) -> dict[str, dict[str, Any]]:
        told = {}
        for name in ABOUT:
            told[name] = every.run(name, files, seed, chosen.get(name))
            say(f"{name}, seed {seed}: {100 * told[name]['accuracy']:.1f} %, {told[name]['peak_rss_mib']:.0f} MiB")
        return told

    with ThreadPoolExecutor(options.jobs) as pool:
        turns = list(pool.map(turn, range(options.seeds)))
    return {name: [told[name] for told in turns] for name in ABOUT}


def command(options: argparse.Namespace) -> str:
    """Return the command that measures the same; of files in other places the last two parts of the path."""
    words = ["python -m benchmarks.usual_tools --record"]
    for name, default in (("data", TRAIN), ("test", TEST)):
        path: Path = getattr(options, name)
        short = "/".join(path.parts[-2:])
        words += [f"--{name} {short}"] if short != default else []
    for name, usual in (DEFAULTS | NUMBERS).items():
        value = getattr(options, name)
        words += [f"--{name.replace('_', '-')} {value}"] if value != usual else []
    return " ".join(words)


def say(line: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
