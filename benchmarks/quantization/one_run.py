"""One run in a process of its own: class means, some steps, held-out accuracy; prints one JSON object."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from edge_runtime.data.examples import ExampleSource
from edge_runtime.inference.class_sums import class_sums
from edge_runtime.inference.predictor import Predictor
from edge_runtime.opened_package import Parts
from edge_runtime.training.local import Recipe, accuracy, train
from edge_runtime.training.trainer import Tools
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import class_mean_head
from edge_runtime.wire.manifest import Tier

RATE: Final = 4e-3
"""Of experts and shared experts at the first step, as `edge_runtime train` begins."""
FINAL: Final = 0.1
"""Of the rate at the last step."""


def main() -> int:
    """Train and test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    with Parts.open(options.package, options.threads) as parts:
        source, test = parts.source(options.train), parts.source(options.test)
        tier = parts.manifest.tiers[0]
        tools = Tools(parts.program, parts.manifest, parts.tokenizer, source, tier)
        bank = with_class_means(parts, source)
        recipe = recipe_of(tier, options.steps, options.seed)
        trained = train(tools, bank, recipe, lambda _loss: None, lambda: False)
        right = accuracy_of(parts, trained.bank, test)
    figures = {"accuracy": right, "loss_last": float(sum(trained.losses[-20:]) / 20), "step_ms": trained.step_ms}
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


def with_class_means(parts: Parts, source: ExampleSource) -> Bank:
    """Return the initial bank with the head that a federation starts from: class means of frozen features."""
    sums = class_sums(parts.program, parts.manifest, parts.tokenizer, source, lambda _count: None)
    return parts.initial_bank().replace(class_mean_head(sums, parts.manifest.architecture.logit_scale))


def accuracy_of(parts: Parts, bank: Bank, test: ExampleSource) -> float:
    """Return the share of held-out texts that get their label; what prediction loaded is freed."""
    predictor = Predictor(parts.program, parts.manifest, parts.tokenizer, bank)
    right = accuracy(predictor, test, lambda _count: None)
    predictor.release()
    return right


def recipe_of(tier: Tier, steps: int, seed: int) -> Recipe:
    """Return how every arm trains: all slots of the tier, the head as it is."""
    return Recipe(
        steps=steps,
        learning_rate=RATE,
        shared_learning_rate=RATE,
        head_learning_rate=0.0,
        final=FINAL,
        weight_decay=0.0,
        experts=tuple(range(tier.trained_slots)),
        rotate_every=0,
        seed=seed,
    )


if __name__ == "__main__":
    sys.exit(main())
