"""``edge_runtime train``: train on local data alone, without a federation."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_runtime.commands.common import (
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
    positive,
    prefixes_of,
    say,
    tell_skipped,
    until_signal,
    warn,
)
from edge_runtime.commands.telling import Bars
from edge_runtime.errors import ConfigError
from edge_runtime.interface.model import Model
from edge_runtime.interface.results import TRAINING, Progress, TrainReport, never
from edge_runtime.wire.text import counted

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
    with (
        Model.open(
            arguments.package, bank=arguments.bank, state=arguments.state, threads=arguments.threads, warn=warn
        ) as model,
        _Shown(show=not arguments.json) as shown,
    ):
        report = model.train(
            csv=arguments.data,
            test_csv=arguments.test,
            **columns_of(arguments),
            epochs=1.0 if arguments.epochs is None else arguments.epochs,
            steps=arguments.steps,
            learning_rate=arguments.lr,
            shared_learning_rate=arguments.shared_lr,
            head_learning_rate=arguments.head_lr,
            final_share=arguments.lr_final,
            weight_decay=arguments.weight_decay,
            experts=_experts(arguments.experts, model.manifest.architecture.experts),
            rotate_every=arguments.rotate_every,
            head=arguments.head,
            seed=arguments.seed,
            tier=arguments.tier,
            **prefixes_of(arguments),
            save=arguments.out,
            progress=shown,
            stopped=shown.stopped,
        )
    tell_skipped(report.skipped, arguments.data)
    for warning in report.warnings:
        warn(f"warning: {warning.text}")
    say(json.dumps(_figures(report)) if arguments.json else _sentence(report, arguments.out))
    return 0


class _Shown(Bars):
    """Bars, and Ctrl-C heeded while steps are made: what is not trained yet has nothing to keep, and ends at once."""

    def __init__(self, *, show: bool) -> None:
        super().__init__(show=show)
        self._signals, self._came = ExitStack(), never

    def __call__(self, progress: Progress) -> None:
        """Show it."""
        super().__call__(progress)
        if progress.done == 0:
            self._signals.close()
            if progress.stage == TRAINING:
                self._came = self._signals.enter_context(until_signal())

    def stopped(self) -> bool:
        """Return whether somebody asked for an end."""
        return self._came()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signals.close()
        super().__exit__(kind, error, trace)


def _experts(text: str, count: int) -> tuple[int, ...]:
    """Return the experts that --experts names; none: as many as there are slots."""
    try:
        return tuple(int(index) for index in text.split(",")) if text else ()
    except ValueError as error:
        if text != "all":
            raise ConfigError(f"--experts {text[:60]}: expected indices such as 0,3, or all") from error
        return tuple(range(count))


def _figures(report: TrainReport) -> dict[str, Any]:
    """Return what a run took and gave, by name."""
    first, last, kind = report.loss_first, report.loss_last, "accuracy" if report.perplexity is None else "perplexity"
    told = {
        "steps": report.steps,
        "examples": report.examples,
        "loss_first": None if first is None else round(first, 4),
        "loss_last": None if last is None else round(last, 4),
        "step_ms": round(report.step_ms, 2),
        "tier_moves": list(report.tier_moves),
        "fill": round(report.fill, 4),
        "texts_per_step": round(report.texts_per_step, 2),
        "peak_rss_mib": round(report.peak_rss_mib, 1),
        "bank_digest": report.bank_digest,
        "layers": report.layers,
        "adapted_layers": report.adapted_layers,
        f"{kind}_before": getattr(report, f"{kind}_before"),
        kind: getattr(report, kind),
        "prefix_cache": report.prefix_cache,
        "warnings": [{"code": one.code, "text": one.text} for one in report.warnings],
    }
    priors = {f"{strength:g}": share for strength, share in report.accuracy_label_prior.items()}
    return told | ({"accuracy_label_prior": priors} if priors else {})


def _sentence(report: TrainReport, out: Path | None) -> str:
    """Return the figures in one line for people."""
    text = f"{counted(report.steps, 'step')} on {counted(report.examples, 'example')}"
    if report.layers < report.adapted_layers:
        text += f" in the top {report.layers} of {report.adapted_layers} layers"
    text += f", {report.step_ms:.0f} ms a step"
    text += f" of {report.texts_per_step:.1f} texts ({report.fill:.0%} of its places filled)"
    if report.steps:
        text += f", loss {report.loss_first:.3f} -> {report.loss_last:.3f}"
    if report.perplexity is not None:
        text += f", perplexity {report.perplexity_before:.1f} -> {report.perplexity:.1f}"
    if report.accuracy is not None:
        text += f", accuracy {report.accuracy_before:.1%} -> {report.accuracy:.1%}"
        priors = report.accuracy_label_prior.items()
        text += f" (label prior {', '.join(f'{strength:g}: {share:.1%}' for strength, share in priors)})"
    prefixes = report.prefix_cache
    if prefixes is not None:
        text += f"; prefixes: {prefixes['hits']} found, {prefixes['misses']} computed, {prefixes['bytes'] / 1e6:.1f} MB"
    return text + (f"; bank in {out}" if out else "; not kept (no --out)")
