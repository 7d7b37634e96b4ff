"""``edge_runtime predict``: labels and probabilities for texts, or their continuation."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from edge_runtime.commands.common import (
    DATA_HELP,
    Subcommands,
    add_bank,
    add_columns,
    add_command,
    add_threads,
    amount,
    columns_of,
    load_bank,
    positive,
    say,
    tell_skipped,
    warn,
)
from edge_runtime.commands.prior_options import add_prior_to_predict, own_labels
from edge_runtime.data.windows import WindowSource
from edge_runtime.errors import ConfigError
from edge_runtime.federation.report import bar
from edge_runtime.inference.continuation import Sampling, Writer
from edge_runtime.inference.predictor import Predictor
from edge_runtime.opened_package import Parts
from edge_runtime.training.budget import Budget, choose_tier
from edge_runtime.training.local import accuracy
from edge_runtime.training.perplexity import text_loss
from edge_runtime.training.sensors import short_of_memory
from edge_runtime.training.trainer import Tools
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.manifest_checks import CAUSAL_LM
from edge_runtime.wire.tensors import Array
from edge_runtime.wire.text import counted
from edge_runtime.wire.text_lines import whole

_BLOCK: Final = 1 << 16
"""Bytes of standard input that are read at once."""

EXAMPLES = """\
  edge_runtime predict --package packages/pixel8 --bank my-bank "wake me at seven" "play some jazz"
  cat texts.txt | edge_runtime predict --package packages/pixel8 --state state --top 3 --json
  edge_runtime predict --package packages/pixel8 --bank v12 --data held-out.csv
  edge_runtime predict --package packages/pixel8 --state state --label-prior 0.5 "wake me at seven"
  edge_runtime predict --package packages/pixel8 --bank my-bank --label-prior 1 --prior-data my.csv "play some jazz"
  edge_runtime predict --package packages/writer --bank my-words "See you" --max-new-tokens 20
  edge_runtime predict --package packages/writer --bank my-words "See you" --suggest 3
"""


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "predict",
        "label texts, or continue them",
        "Predicts the label of each text, or continues it where the package holds a language model. Texts are\n"
        "arguments, or lines of standard input; each has one line of output, and those that are there at once are\n"
        "computed together. With --data, scores a file.",
        EXAMPLES,
    )
    parser.add_argument(
        "text", nargs="*", help="texts, one prediction each (quote one that has spaces); none: lines of standard input"
    )
    parser.add_argument("--data", type=Path, metavar="FILE", help=f"score this file instead: {DATA_HELP}")
    add_columns(parser)
    parser.add_argument("--top", type=positive, default=1, metavar="N", help="likeliest labels to show (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    add_prior_to_predict(parser)
    writing = parser.add_argument_group("language models")
    writing.add_argument(
        "--max-new-tokens", type=positive, default=32, metavar="N", help="continue by at most N tokens (%(default)s)"
    )
    writing.add_argument(
        "--temperature",
        type=amount,
        default=0.0,
        metavar="T",
        help="0 takes the likeliest token, more samples (%(default)s)",
    )
    writing.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the sampling (%(default)s)")
    writing.add_argument("--suggest", type=positive, metavar="N", help="show the N likeliest next tokens instead")
    add_bank(parser)
    add_threads(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Predict or score."""
    if arguments.text and arguments.data:
        raise ConfigError("got a text and --data; give one of them")
    if not arguments.text and not arguments.data and sys.stdin.isatty():
        raise ConfigError('no text: give one ("wake me at seven"), pipe lines into standard input, or use --data FILE')
    with Parts.open(arguments.package, arguments.threads) as parts:
        bank, name = load_bank(parts, arguments.bank, arguments.state)
        own = own_labels(arguments, parts)
        if not bank.learned:
            likely = "all are equally likely" if own is None else "the label prior alone decides"
            warn(
                f"warning: {name} has not learned any label yet, so {likely};"
                " train it (edge_runtime train --out DIR, then --bank DIR), or take part in a federation"
            )
        if parts.manifest.architecture.task == CAUSAL_LM:
            return _continue(parts, bank, arguments, name)
        prior = own.weights if own is not None else None
        predictor = Predictor(parts.program, parts.manifest, parts.tokenizer, bank, short_of_memory, prior=prior)
        if arguments.data:
            about = {"bank": name, "learned": bank.learned, "label_prior": own.strength if own is not None else 0.0}
            return _score(parts, predictor, arguments, about)
        labels = parts.manifest.architecture.labels
        for texts in _texts(arguments.text):
            for probabilities, _ in [predictor(texts[0])] if len(texts) == 1 else predictor.many(texts):
                say(_line(probabilities, labels, arguments))
    return 0


def _continue(parts: Parts, bank: Bank, arguments: argparse.Namespace, name: str) -> int:
    if arguments.data:
        return _score_text(parts, bank, arguments, name)
    writer = Writer(parts.program, parts.manifest, parts.tokenizer, bank, short_of_memory)
    sampling = Sampling(arguments.temperature, arguments.seed)
    for text in chain.from_iterable(_texts(arguments.text)):
        if arguments.suggest:
            say(_suggestions(writer.suggest(text, arguments.suggest), as_object=arguments.json))
        elif arguments.json:
            say(json.dumps({"continuation": "".join(writer.pieces(text, arguments.max_new_tokens, sampling))}))
        else:
            sys.stdout.write(text)
            for piece in writer.pieces(text, arguments.max_new_tokens, sampling):
                sys.stdout.write(piece)
                sys.stdout.flush()
            say("")
    return 0


def _suggestions(suggestions: list[tuple[str, float]], *, as_object: bool) -> str:
    if as_object:
        return json.dumps({"next": [{"text": text, "probability": round(share, 6)} for text, share in suggestions]})
    return "\t".join(f"{text}\t{share:.4f}" for text, share in suggestions)


def _score_text(parts: Parts, bank: Bank, arguments: argparse.Namespace, name: str) -> int:
    tier = choose_tier(parts.manifest, Budget())
    source = parts.examples(arguments.data, tier, columns_of(arguments))
    tell_skipped(source.skipped, arguments.data)
    assert isinstance(source, WindowSource)  # noqa: S101 - what a package that continues texts reads
    tools = Tools(parts.program, parts.manifest, parts.tokenizer, source, tier)
    with bar("scoring", len(source), show=not arguments.json) as advance:
        measured = text_loss(tools, bank, source, advance)
    scores = {"perplexity": measured.perplexity, "loss": measured.loss, "tokens": measured.targets, "bank": name}
    said = f"perplexity {measured.perplexity:.2f} on {measured.targets} tokens with {name}"
    say(json.dumps(scores) if arguments.json else said)
    return 0


def _score(parts: Parts, predictor: Predictor, arguments: argparse.Namespace, about: dict[str, Any]) -> int:
    source = parts.source(arguments.data, columns_of(arguments))
    tell_skipped(source.skipped, arguments.data)
    with bar("scoring", len(source), show=not arguments.json) as advance:
        share = accuracy(predictor, source, advance)
    scores = {"accuracy": share, "examples": len(source), **about}
    plain = f"accuracy {share:.1%} on {counted(len(source), 'example')} with {about['bank']}"
    plain += f" and label prior {about['label_prior']:g}" if about["label_prior"] else ""
    say(json.dumps(scores) if arguments.json else plain)
    return 0


def _texts(arguments: list[str]) -> Iterator[list[str]]:
    """Yield the texts that are there at once, all arguments or the lines that a pipe holds.

    So many lines are answered together, and one that somebody waits for is answered before the next comes. Halves of
    characters, which no tokenizer takes, become U+FFFD.
    """
    if arguments:
        yield [whole(text) for text in arguments]
        return
    number = 0
    for lines in lines_at_hand(sys.stdin.buffer):
        texts = []
        for line in lines:
            number += 1
            try:
                texts.append(whole(line.decode("utf-8", "surrogatepass")).rstrip("\r\n"))
            except UnicodeDecodeError as error:
                yield texts
                raise DataError(f"line {number} of standard input is not UTF-8") from error
        yield texts


def lines_at_hand(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Yield the lines that can be read without waiting, at least one; the last may have no end."""
    begun = b""
    while block := stream.read1(_BLOCK):  # type: ignore[attr-defined]  # of the buffer of standard input
        *lines, begun = (begun + block).split(b"\n")
        if lines:
            yield lines
    if begun:
        yield [begun]


def _line(probabilities: Array, labels: tuple[str, ...], arguments: argparse.Namespace) -> str:
    best = np.argsort(-probabilities, kind="stable")[: arguments.top]
    likeliest = [(labels[row], round(float(probabilities[row]), 6)) for row in best]
    if arguments.json:
        return json.dumps({"labels": [{"label": label, "probability": share} for label, share in likeliest]})
    return "\t".join(f"{label}\t{share:.4f}" for label, share in likeliest)
