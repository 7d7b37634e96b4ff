"""``edge_runtime train``: train on local data alone, without a federation."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from edge_runtime.commands.common import (
    BANK_FILE,
    DATA_HELP,
    Subcommands,
    add_bank,
    add_columns,
    add_command,
    add_prefixes,
    add_threads,
    add_tier,
    amount,
    columns_of,
    load_bank,
    open_prefixes,
    positive,
    say,
    suited,
    tell_skipped,
    until_signal,
    warn,
)
from edge_runtime.commands.train_report import EvaluationSet, figures, sentence
from edge_runtime.data.batches import Source
from edge_runtime.data.lengths import lengths_of
from edge_runtime.data.packed import tier_capacity
from edge_runtime.data.windows import WindowSource
from edge_runtime.errors import ConfigError, EdgeError
from edge_runtime.federation.config import default_prefixes
from edge_runtime.federation.report import bar
from edge_runtime.inference.class_sums import class_sums
from edge_runtime.opened_package import Parts
from edge_runtime.training.budget import Budget
from edge_runtime.training.local import Recipe, steps_of_epochs, train
from edge_runtime.training.trainer import Tools
from edge_runtime.training.watch import Watch
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import class_mean_head
from edge_runtime.wire.manifest import Tier

EXAMPLES = """\
  edge_runtime train --package packages/pixel8 --data my.csv --steps 100 --out my-bank
  edge_runtime train --package packages/pixel8 --data my.csv --test held-out.csv --epochs 3 --rotate-every 10 \\
      --out my-bank --json
  edge_runtime train --package packages/writer --data my-notes.txt --test more-notes.txt --epochs 2 --out my-words
"""


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "train",
        "train on local data alone",
        "Trains experts of a bank on this machine's examples and writes the bank; nothing is sent anywhere.\n"
        "Ctrl-C stops after the step at hand and writes what was reached; before the first step it ends at once.",
        EXAMPLES,
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help=DATA_HELP)
    parser.add_argument(
        "--test", type=Path, metavar="FILE", help="held-out examples; accuracy (causal-lm: perplexity) before and after"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the bank there (for predict --bank)")
    add_columns(parser)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=positive, metavar="N", help="optimizer steps (default: 1 epoch)")
    length.add_argument("--epochs", type=amount, metavar="N", help="passes over the data, 0.5 is half of one")
    parser.add_argument(
        "--lr", type=amount, default=4e-3, metavar="RATE", help="learning rate of experts (%(default)s)"
    )
    parser.add_argument(
        "--shared-lr", type=amount, metavar="RATE", help="learning rate of shared experts (default: --lr)"
    )
    parser.add_argument(
        "--head-lr", type=amount, default=0.0, metavar="RATE", help="learning rate of the head (0: frozen)"
    )
    parser.add_argument(
        "--lr-final",
        type=amount,
        default=0.1,
        metavar="SHARE",
        help="share of the learning rates left at the end (%(default)s)",
    )
    parser.add_argument(
        "--weight-decay", type=amount, default=0.0, metavar="RATE", help="decoupled, as in AdamW (%(default)s)"
    )
    parser.add_argument(
        "--experts",
        default="",
        metavar="LIST",
        help="experts to train: indices such as 0,3, or all (default: as many as there are slots)",
    )
    parser.add_argument(
        "--rotate-every", type=positive, default=0, metavar="STEPS", help="train the next experts after each STEPS"
    )
    parser.add_argument(
        "--head",
        choices=("auto", "bank", "class-means"),
        default="auto",
        help="start the head from class means of frozen features of --data, or from the bank; auto: from class means"
        " unless the bank has learned labels (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the batch order (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    add_bank(parser)
    add_threads(parser)
    add_prefixes(parser, "below ~/.cache")
    add_tier(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Train, evaluate, write."""
    with Parts.open(arguments.package, arguments.threads) as parts:
        watch = Watch.of(parts.manifest, Budget(), arguments.tier)
        columns = columns_of(arguments)
        source = parts.examples(arguments.data, watch.largest, columns)
        watch = suited(watch, parts, source)
        tier = watch.largest
        test = parts.examples(arguments.test, tier, columns) if arguments.test else None
        tell_skipped(source.skipped, arguments.data)
        experts = _experts(arguments, parts, tier)
        recipe = _recipe(arguments, experts, arguments.steps or _steps(arguments, parts, source, tier))
        cache = open_prefixes(arguments, default_prefixes()) if watch.uses_prefixes(tier.layers) else None
        tools = Tools(
            parts.program,
            parts.manifest,
            parts.tokenizer,
            source,
            tier,
            cache=cache,
            rounding=arguments.prefix_rounding,
        )
        bank, start = _start(arguments, parts, source)
        evaluation = EvaluationSet.of(tools, test)
        before = evaluation.measure(bank)
        with until_signal() as stopped:  # not before: what is not trained yet has nothing to keep, and ends at once
            with bar("training", recipe.steps, show=not arguments.json) as advance:
                trained = train(tools, bank, recipe, lambda _loss: advance(1), stopped, watch=watch)
            if arguments.out:
                write_bank(trained.bank, arguments.out, parts.manifest.architecture.digest())
        after = evaluation.measure(trained.bank)
        depth = {"layers": tier.layers, "adapted_layers": len(parts.manifest.architecture.adapted_layers)}
        report = figures(trained, len(source)) | depth | evaluation.compared(before, after)
        report["prefix_cache"] = asdict(cache.use) if cache is not None else None
        report["warnings"] = evaluation.warnings(before, after, start) if trained.losses else []
    for warning in report["warnings"]:
        warn(f"warning: {warning['text']}")
    say(json.dumps(report) if arguments.json else sentence(report, arguments.out))
    return 0


def _steps(arguments: argparse.Namespace, parts: Parts, source: Source, tier: Tier) -> int:
    """Return the steps of --epochs passes over the data (default: one): as the texts pack, no two steps are alike."""
    with bar("counting tokens", len(source)) as advance:
        counts = lengths_of(source, len(source), parts.tokenizer, tier.seq_len, advance).tolist()
    epochs = 1 if arguments.epochs is None else arguments.epochs
    return steps_of_epochs(
        epochs, counts, tier_capacity(tier), seed=arguments.seed, rotate_every=arguments.rotate_every
    )


def _experts(arguments: argparse.Namespace, parts: Parts, tier: Tier) -> tuple[int, ...]:
    """Return the experts that --experts names, or as many as there are slots; with --rotate-every all."""
    architecture = parts.manifest.architecture
    try:
        indices = tuple(int(index) for index in arguments.experts.split(",")) if arguments.experts else ()
    except ValueError as error:
        if arguments.experts != "all":
            raise ConfigError(f"--experts {arguments.experts[:60]}: expected indices such as 0,3, or all") from error
        indices = tuple(range(architecture.experts))
    if not arguments.experts:
        indices = tuple(range(architecture.experts if arguments.rotate_every else tier.trained_slots))
    return indices


def _recipe(arguments: argparse.Namespace, experts: tuple[int, ...], steps: int) -> Recipe:
    return Recipe(
        steps=steps,
        learning_rate=arguments.lr,
        shared_learning_rate=arguments.lr if arguments.shared_lr is None else arguments.shared_lr,
        head_learning_rate=arguments.head_lr,
        final=arguments.lr_final,
        weight_decay=arguments.weight_decay,
        experts=experts,
        rotate_every=arguments.rotate_every,
        seed=arguments.seed,
    )


def _start(arguments: argparse.Namespace, parts: Parts, source: Source) -> tuple[Bank, str]:
    """Return the bank that training starts from, and what that is, for people.

    Raises:
        ConfigError: for a head of class means that a language model has not, or a head that could never learn.
    """
    bank, name = load_bank(parts, arguments.bank, arguments.state)
    if isinstance(source, WindowSource):
        if arguments.head == "class-means":
            raise ConfigError("--head class-means: this package continues texts, it has no head to start; leave it out")
        return bank, name
    if arguments.head == "bank" or (arguments.head == "auto" and bank.learned):
        if not bank.learned and not arguments.head_lr:
            raise ConfigError(
                f"--head bank: {name} has not learned any label yet, and without --head-lr its head stays as it is;"
                " leave --head out to start from class means"
            )
        return bank, name
    with bar("features", len(source)) as advance:
        sums = class_sums(parts.program, parts.manifest, parts.tokenizer, source, advance)
    blocks = class_mean_head(sums, parts.manifest.architecture.logit_scale)
    fresh = arguments.bank is None and arguments.state is None
    return bank.replace(blocks), "class means alone" if fresh else f"class means on {name}"


def write_bank(bank: Bank, folder: Path, federation: bytes) -> None:
    """Write bank.safetensors in ``folder``, for the federation of this digest, whole or not at all.

    Raises:
        EdgeError: when the disk refuses.
    """
    beside = folder / f".{BANK_FILE}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(bank.to_bytes(federation))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(folder / BANK_FILE)
    except OSError as error:
        raise EdgeError(f"cannot write {folder / BANK_FILE}: {error.strerror}") from error
