"""The process of the eager arms that train to an accuracy: bank, class means, order and rates are ours."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quantization.one_run import FINAL, RATE
from benchmarks.real_text import BATCH, learning, work
from benchmarks.real_text.torch_arm import set_threads
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.manifest import Package


def main() -> int:
    """Train and tell the curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arm", required=True)
    parser.add_argument("--model", type=Path, required=True)
    arguments = learning.arguments(parser)
    set_threads(arguments.threads)
    package = Package.open(arguments.package)
    train, test = work.read(arguments.train), work.read(arguments.test)
    run = _Run(arguments, package, train, test)
    count = len(train.lengths)
    curve = learning.Curve(run.accuracy, max(BATCH, count // 2))
    curve.begin(run.start_head)
    run.make_ready(arguments.epochs * count // BATCH)
    curve.run(run.step, arguments.epochs * count)
    return curve.tell()


class _Run:
    """One run. Args: package: whose bank is trained; train, test: texts as ids."""

    def __init__(self, arguments: argparse.Namespace, package: Package, train: work.Work, test: work.Work) -> None:
        from benchmarks.real_text import rivals  # noqa: PLC0415 - torch takes its threads first

        architecture = package.manifest.architecture
        self._way, self._trained = rivals.WAYS[arguments.arm], package.manifest.tiers[0].trained_slots
        self._scale, self._labels = architecture.logit_scale, len(architecture.labels)
        self._model: Any = rivals.model(self._way, arguments.model, self._labels)
        self._bank, self._train, self._test = package.bank(), train, test
        self._batches = work.Batches(len(train.lengths), arguments.seed)
        self._load(Bank.zeros(self._bank.shape))

    def _load(self, bank: Bank) -> None:
        from benchmarks.real_text import eager_bank  # noqa: PLC0415

        eager_bank.load(self._model, bank, self._trained, self._scale)

    def start_head(self) -> None:
        """Take the head from the class means of the frozen encoder's features."""
        features = np.concatenate([self._features(rows) for rows in _chunks(len(self._train.lengths))])
        sums = np.zeros((self._labels, features.shape[1]))
        np.add.at(sums, self._train.labels, features)
        counts = np.bincount(self._train.labels, minlength=self._labels).astype(np.float32)
        head = class_mean_head(ClassSums(counts, sums), self._scale)
        self._load(self._bank.replace(head))

    def _features(self, rows: Sequence[int]) -> work.Array:
        features: work.Array = self._forward(self._train, rows, features=True)
        return features

    def _forward(self, texts: work.Work, rows: Sequence[int], *, features: bool = False) -> work.Array:
        import torch  # noqa: PLC0415

        ids, mask, _ = texts.padded(rows)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self._way.bf16):
            call = self._model.features if features else self._model
            out: work.Array = call(torch.from_numpy(ids), torch.from_numpy(mask)).float().numpy()
        return out

    def make_ready(self, steps: int) -> None:
        """Make the optimizer."""
        from benchmarks import eager  # noqa: PLC0415

        def rate(step: int) -> float:
            return RATE * (1 + (FINAL - 1) * step / steps)

        self._step = eager.scheduled(self._model, rate, bf16=self._way.bf16)

    def step(self) -> int:
        """Train a batch."""
        import torch  # noqa: PLC0415

        ids, mask, labels = self._train.padded(next(self._batches))
        self._step((torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(labels)))
        return len(labels)

    def accuracy(self) -> float:
        """Return the share of held-out texts that get their label."""
        right = [
            (self._forward(self._test, rows).argmax(1) == self._test.labels[list(rows)]).sum()
            for rows in _chunks(len(self._test.lengths))
        ]
        return float(sum(right)) / len(self._test.lengths)


def _chunks(count: int) -> list[range]:
    return [range(first, min(first + BATCH, count)) for first in range(0, count, BATCH)]


if __name__ == "__main__":
    sys.exit(main())
