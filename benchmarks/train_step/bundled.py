"""Run the arms of a bundle on a machine that has nothing of this project: ``python run.py``, see `bundle`.

Needs Python, and for the PyTorch arms torch, transformers and numpy. Prints one JSON object like the benchmark's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import record
from benchmarks.train_step.compare import Arm, interleaved, summary


def load(folder: Path) -> dict[str, Arm]:
    """Read the arms; {here} and {python} in their commands become this folder and this Python."""
    bundle = json.loads((folder / "arms.json").read_text(encoding="utf-8"))
    places = {"{here}": str(folder), "{python}": sys.executable}

    def placed(word: str) -> str:
        for name, place in places.items():
            word = word.replace(name, place)
        return word

    return {name: Arm(**{**arm, "command": tuple(map(placed, arm["command"]))}) for name, arm in bundle["arms"].items()}


def main(folder: Path, argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    arms = load(folder)
    parser = argparse.ArgumentParser(prog="python run.py", description=__doc__)
    parser.add_argument("--arms", default=",".join(arms), metavar="A,B", help="arms to measure (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each arm (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads of every arm (%(default)s)")
    options = parser.parse_args(argv)
    os.environ["LD_LIBRARY_PATH"] = f"{folder / 'lib'}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    os.environ["PYTHONPATH"] = str(folder)
    wanted = {name: arms[name] for name in options.arms.split(",")}
    runs, failed = interleaved(wanted, options.repeats, options.threads, lambda line: print(line, file=sys.stderr))
    about = json.loads((folder / "arms.json").read_text(encoding="utf-8"))
    result = {"work": about["work"], **summary(wanted, runs), "failed": failed, "repeats": options.repeats}
    result |= {"threads": options.threads, "machine": record.machine(), "extensions": record.extensions()}
    result |= {"commit": about["commit"]}
    print(json.dumps(result))
    return 1 if failed else 0
