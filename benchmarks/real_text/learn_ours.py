"""The process of our arms that train to an accuracy: class means, then steps of the device runtime."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.quantization.one_run import accuracy_of, recipe_of, with_class_means
from benchmarks.real_text import BATCH, learning
from edge_runtime.data.examples import ExampleSource
from edge_runtime.data.lengths import lengths_of
from edge_runtime.data.packed import tier_capacity
from edge_runtime.data.prefix_cache import PrefixCache
from edge_runtime.opened_package import Parts
from edge_runtime.training.local import steps_of_epochs, stretches
from edge_runtime.training.trainer import Tools, Trainer

_CACHE_MB: Final = 1000


def main() -> int:
    """Train and tell the curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cached", action="store_true", help="keep prefixes from epoch to epoch")
    arguments = learning.arguments(parser)
    with tempfile.TemporaryDirectory() as folder, Parts.open(arguments.package, arguments.threads) as parts:
        cache = PrefixCache(Path(folder), _CACHE_MB, sys.exit) if arguments.cached else None
        run = _Run(parts, parts.source(arguments.train), parts.source(arguments.test), cache)
        texts = arguments.epochs * len(run.source)
        curve = learning.Curve(run.accuracy, max(BATCH, len(run.source) // 2))
        curve.begin(lambda: run.prepare(arguments.epochs, arguments.seed))
        curve.run(run.step, texts)
        return curve.tell(fill=run.trainer.fill.share)


class _Run:
    """One run. Args: parts: of the package; source, test: labelled texts; cache: of prefixes, or None."""

    trainer: Trainer

    def __init__(self, parts: Parts, source: ExampleSource, test: ExampleSource, cache: PrefixCache | None) -> None:
        self.source, self._test, self._parts, self._cache = source, test, parts, cache

    def prepare(self, epochs: int, seed: int) -> None:
        """Take the head from the class means of the frozen backbone's features, and make the trainer."""
        parts, tier = self._parts, self._parts.manifest.tiers[0]
        self._bank = with_class_means(parts, self.source)
        counts = lengths_of(self.source, len(self.source), parts.tokenizer, tier.seq_len).tolist()
        recipe = recipe_of(tier, steps_of_epochs(epochs, counts, tier_capacity(tier), seed=seed), seed)
        tools = Tools(parts.program, parts.manifest, parts.tokenizer, self.source, tier, cache=self._cache)
        self.trainer = Trainer(tools, self._bank, next(stretches(recipe, parts.manifest.architecture, tier)))

    def step(self) -> int:
        """Train as many texts as fit; return how many."""
        before = self.trainer.fill.texts
        self.trainer.step()
        return self.trainer.fill.texts - before

    def accuracy(self) -> float:
        """Return the share of held-out texts that get their label."""
        parts = self._parts
        bank = self._bank.replace(self.trainer.outcome().blocks) if self.trainer.steps else self._bank
        return accuracy_of(parts, bank, self._test)


if __name__ == "__main__":
    sys.exit(main())
