"""One run in a process of its own: some epochs on the device runtime, timed or tested; prints one JSON object."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.prefix_cache import BATCH
from benchmarks.quantization.one_run import accuracy_of, recipe_of, with_class_means
from edge_runtime.data.prefix_cache import PrefixCache
from edge_runtime.opened_package import Parts
from edge_runtime.program.memory import peak_rss_mib
from edge_runtime.training.local import stretches
from edge_runtime.training.trainer import Tools, Trainer

WARM_UP: Final = 3
_CACHE_MB: Final = 1000


def main() -> int:
    """Train, and tell times, or with --test the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--rounding", default="int8")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Parts.open(options.package, options.threads) as parts:
        cache = PrefixCache(Path(folder), _CACHE_MB, sys.exit)
        source, tier = parts.source(options.train), parts.manifest.tiers[0]
        rounding = options.rounding or "int8"
        tools = Tools(parts.program, parts.manifest, parts.tokenizer, source, tier, cache=cache, rounding=rounding)
        bank = with_class_means(parts, source) if options.test else parts.initial_bank()
        recipe = recipe_of(tier, options.steps, options.seed)
        trainer = Trainer(tools, bank, next(stretches(recipe, parts.manifest.architecture, tier)))
        times = []
        while not trainer.done:
            began = time.perf_counter()
            trainer.step()
            times.append(1000 * (time.perf_counter() - began))
        figures = _times(times, -(-len(source) // BATCH)) | {"misses": cache.use.misses, "hits": cache.use.hits}
        figures |= {"cache_bytes": cache.use.bytes, "peak_rss_mib": peak_rss_mib()}
        if options.test:
            trained = bank.replace(trainer.outcome().blocks)
            figures["accuracy"] = accuracy_of(parts, trained, parts.source(options.test))
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


def _times(times: list[float], epoch: int) -> dict[str, float]:
    """Return medians of the first epoch and of the later ones, in ms."""
    first, later = times[WARM_UP:epoch], times[epoch:]
    return {
        "first_ms": statistics.median(first) if first else 0.0,
        "later_ms": statistics.median(later) if later else 0.0,
    }


if __name__ == "__main__":
    sys.exit(main())
