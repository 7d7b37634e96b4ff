"""The process of an arm of ours: the device runtime trains a package on a file of texts; torch is not imported."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.quantization.one_run import recipe_of
from benchmarks.real_text import measured
from edge_runtime.data.prefix_cache import PrefixCache
from edge_runtime.opened_package import Parts
from edge_runtime.training.local import stretches
from edge_runtime.training.trainer import Tools, Trainer
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD

_CACHE_MB: Final = 1000
_STEPS: Final = 10_000
"""More than any run makes; the learning rate falls that slowly."""


def main() -> int:
    """Measure one arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--cached", action="store_true", help="keep prefixes, and measure from the second epoch on")
    measured.add_arguments(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Parts.open(arguments.package, arguments.threads) as parts:
        cache = PrefixCache(Path(folder), _CACHE_MB, sys.exit) if arguments.cached else None
        source, tier = parts.source(arguments.train), parts.manifest.tiers[0]
        tools = Tools(parts.program, parts.manifest, parts.tokenizer, source, tier, cache=cache)
        task = next(stretches(recipe_of(tier, _STEPS, 0), parts.manifest.architecture, tier))
        trainer = Trainer(tools, with_any_head(parts.initial_bank()), task)

        def step() -> measured.Step:
            before, loss, after = trainer.fill, trainer.step(), trainer.fill
            return measured.Step(
                loss, after.texts - before.texts, after.tokens - before.tokens, after.places - before.places
            )

        def warm_up() -> None:
            for _ in range(arguments.warm_up):
                step()
            while arguments.cached and trainer.fill.texts < len(source):
                step()

        done = measured.report(step, arguments, warm_up)
    if "torch" in sys.modules:
        sys.stderr.write("torch was imported, so this is not the runtime of a device; is the native driver built?\n")
        return 1
    return done


def with_any_head(bank: Bank) -> Bank:
    """Return a bank whose head favours some labels: with one of zeros there is no gradient below it."""
    values = np.random.default_rng(0).normal(0, 0.05, bank.head.shape).astype(np.float32)
    return bank.replace({HEAD: values})


if __name__ == "__main__":
    sys.exit(main())
