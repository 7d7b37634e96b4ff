"""The process of the rival arm: sorted batches over four padded programs, the loaded ones kept in memory."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack

import numpy as np

from benchmarks.quantization.one_run import accuracy_of, recipe_of, with_class_means
from benchmarks.real_text import BATCH, learning, sorted_batches
from edge_runtime.data.batches import Reader
from edge_runtime.data.examples import ExampleSource
from edge_runtime.data.lengths import lengths_of
from edge_runtime.data.packed import Packed, tier_capacity
from edge_runtime.opened_package import Parts
from edge_runtime.program import slots as placement
from edge_runtime.training import carry
from edge_runtime.training.local import stretches
from edge_runtime.training.micro_batches import run_step
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.fill import Fill


def main() -> int:
    """Train and tell the curve; ``--package`` is what the folders of the four packages begin with."""
    arguments = learning.arguments(argparse.ArgumentParser(description=__doc__))
    with ExitStack() as opened:
        packages = {
            tokens: opened.enter_context(
                Parts.open(arguments.package.with_name(f"{arguments.package.name}{tokens}"), arguments.threads)
            )
            for tokens in sorted_batches.TIERS
        }
        longest = packages[sorted_batches.TIERS[-1]]
        run = _Run(packages, longest.source(arguments.train), longest.source(arguments.test))
        texts = arguments.epochs * len(run.source)
        curve = learning.Curve(run.accuracy, max(BATCH, len(run.source) // 2))
        curve.begin(lambda: run.prepare(texts // BATCH, arguments.seed))
        curve.run(run.step, texts)
        return curve.tell(fill=run.fill.share)


class _Run:
    """One run. Args: packages: by tokens of a row; source, test: labelled texts."""

    def __init__(self, packages: dict[int, Parts], source: ExampleSource, test: ExampleSource) -> None:
        self._packages, self.source, self._test = packages, source, test
        self._longest = packages[max(packages)]
        self.fill = Fill()

    def prepare(self, steps: int, seed: int) -> None:
        """Take the head from class means, count the texts' tokens, and place the experts."""
        parts, tier = self._longest, self._longest.manifest.tiers[0]
        self._steps = steps
        self._bank = with_class_means(parts, self.source)
        lengths = lengths_of(self.source, len(self.source), parts.tokenizer, tier.seq_len).tolist()
        self._batches = sorted_batches.batches(lengths, seed)
        recipe = recipe_of(tier, steps, seed)
        self._task = next(stretches(recipe, parts.manifest.architecture, tier))
        self._slots = placement.place(self._task.train, parts.manifest.architecture, tier)
        self._values = carry.start(self._bank, self._slots)

    def step(self) -> int:
        """Train the next batch in its tier; return its texts."""
        rows, tokens = next(self._batches)
        parts = self._packages[tokens]
        tier, labels = parts.manifest.tiers[0], self._bank.shape.labels
        reader = Reader(self.source, parts.tokenizer, labels, tier.seq_len)
        texts = reader.texts(rows)
        packed = Packed.in_own_rows([text.count for text in texts], tier_capacity(tier))
        inputs = {**self._values, **reader.inputs(texts, packed), **self._steering()}
        outputs = run_step(parts.program.execute, parts.manifest, tier, inputs)
        self._values |= {name: outputs[name] for name in self._values if name in outputs}
        self.fill += Fill(1, len(rows), packed.tokens, tier.places)
        return len(rows)

    def _steering(self) -> dict[str, np.ndarray]:
        first, last = self._task.decay
        factor = first + (last - first) * self.fill.steps / self._steps
        rate = self._task.learning_rate * factor
        hyper = ports.hyper_values(self.fill.steps + 1, rate, shared_learning_rate=rate)
        return {
            ports.GATE_SCALE: self._slots.gate_scale,
            ports.UPDATE_MASK: self._slots.update_mask,
            ports.HYPER: np.array(hyper, np.float32),
        }

    def accuracy(self) -> float:
        """Return the share of held-out texts that get their label."""
        parts, bank = self._longest, self._bank
        if self.fill.steps:
            shape, train = bank.shape, self._task.train
            bank = bank.replace(placement.blocks(train, shape, self._slots, self._values))
        return accuracy_of(parts, bank, self._test)


if __name__ == "__main__":
    sys.exit(main())
