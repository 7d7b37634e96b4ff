"""The process that predicts one text of 8 tokens: in the method for it, and in the one of 32 places, by turns."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.real_text.ours_arm import with_any_head
from edge_runtime.data.packed import Packed
from edge_runtime.inference.methods import Inference, for_one
from edge_runtime.opened_package import Parts

TOKENS: Final = 8
LONG: Final = 32
_WARM_UP: Final = 5


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    tokens = list(range(1000, 1000 + TOKENS))
    with Parts.open(arguments.package, arguments.threads) as parts:
        inference = Inference(parts.program, parts.manifest, with_any_head(parts.initial_bank()))
        chosen = {name: for_one(inference.methods, count) for name, count in (("short", TOKENS), ("long", LONG))}
        times: dict[str, list[float]] = {name: [] for name in chosen}
        for _ in range(_WARM_UP + arguments.calls):
            for name, method in chosen.items():
                began = time.perf_counter()
                inference.run(method, [tokens], Packed.next([TOKENS], method.capacity))
                times[name].append(1e3 * (time.perf_counter() - began))
    medians = {f"{name}_ms": statistics.median(of_method[_WARM_UP:]) for name, of_method in times.items()}
    methods = {name: method.name for name, method in chosen.items()}
    sys.stdout.write(json.dumps({**medians, "methods": methods}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
