"""One run in a process of its own: some epochs on the device runtime, timed or tested; prints one JSON object."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.prefix_cache import BATCH
from edge_runtime.cache import PrefixCache
from edge_runtime.local import Recipe, accuracy, stretches
from edge_runtime.memory import peak_rss_mib
from edge_runtime.parts import Parts
from edge_runtime.statistics import Predictor, class_mean_head, class_sums
from edge_runtime.trainer import Tools, Trainer
from edge_runtime.wire.bank import Bank

RATE: Final = 4e-3
"""Of experts and shared experts at the first step, a tenth at the last: what `edge_runtime train` does."""
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
        bank = _with_class_means(parts, tools) if options.test else parts.initial_bank()
        trainer = Trainer(tools, bank, _task(tools, options.steps, options.seed))
        times = []
        while not trainer.done:
            began = time.perf_counter()
            trainer.step()
            times.append(1000 * (time.perf_counter() - began))
        found = _times(times, -(-len(source) // BATCH)) | {"misses": cache.use.misses, "hits": cache.use.hits}
        found |= {"cache_bytes": cache.use.bytes, "peak_rss_mib": peak_rss_mib()}
        if options.test:
            trained = bank.replace(trainer.outcome().blocks)
            predictor = Predictor(parts.program, parts.manifest, parts.tokenizer, trained)
            found["accuracy"] = accuracy(predictor, parts.source(options.test), lambda _count: None)
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _with_class_means(parts: Parts, tools: Tools) -> Bank:
    sums = class_sums(parts.program, parts.manifest, parts.tokenizer, tools.source, lambda _count: None)  # type: ignore[arg-type]
    head, mean = class_mean_head(sums, parts.manifest.architecture.logit_scale)
    return replace(parts.initial_bank(), head=head, mean=mean)


def _task(tools: Tools, steps: int, seed: int) -> Any:  # noqa: ANN401 - a Task
    recipe = Recipe(
        steps=steps,
        learning_rate=RATE,
        shared_learning_rate=RATE,
        head_learning_rate=0.0,
        final=0.1,
        weight_decay=0.0,
        experts=tuple(range(tools.tier.trained_slots)),
        rotate_every=0,
        seed=seed,
    )
    return next(stretches(recipe, tools.manifest.architecture, tools.tier))


def _times(times: list[float], epoch: int) -> dict[str, float]:
    """Return medians of the first epoch and of the later ones, in ms."""
    first, later = times[WARM_UP:epoch], times[epoch:]
    return {
        "first_ms": statistics.median(first) if first else 0.0,
        "later_ms": statistics.median(later) if later else 0.0,
    }


if __name__ == "__main__":
    sys.exit(main())
