"""The process that predicts one text of 8 tokens: in the method for it, and in the one of 32 places.

Turns of 20 calls: a method that others have pushed out of the processor's caches reads its weights from memory again.
"""

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
from edge_runtime.inference.methods import Inference, Method, for_one
from edge_runtime.opened_package import Parts

TOKENS: Final = 8
LONG: Final = 32
_TURN: Final = 20
_WARM_UP: Final = 3
"""Calls at the beginning of a turn that do not count."""


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
        calls: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
        for _ in range(0, arguments.calls, _TURN):
            for name, method in chosen.items():
                calls[name] += [_timed(inference, method, tokens) for _ in range(_WARM_UP + _TURN)][_WARM_UP:]
    medians = {
        f"{name}_{clock}": statistics.median(times)
        for name, of_method in calls.items()
        for clock, times in zip(("ms", "cpu_ms"), zip(*of_method, strict=True), strict=True)
    }
    methods = {name: method.name for name, method in chosen.items()}
    sys.stdout.write(json.dumps({**medians, "methods": methods}) + "\n")
    return 0


def _timed(inference: Inference, method: Method, tokens: list[int]) -> tuple[float, float]:
    """Return ms of a call, wall and processor time."""
    began, used = time.perf_counter(), time.process_time()
    inference.run(method, [tokens], Packed.next([len(tokens)], method.capacity))
    return 1e3 * (time.perf_counter() - began), 1e3 * (time.process_time() - used)


if __name__ == "__main__":
    sys.exit(main())
