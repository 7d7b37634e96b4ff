"""``edge_runtime predict``: labels and probabilities for texts, or their continuation."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from edge_runtime.commands.common import (
    DATA_HELP,
    Subcommands,
    add_bank,
    add_columns,
    add_command,
    add_threads,
    amount,
    columns_of,
    positive,
    say,
    tell_skipped,
    warn,
)
from edge_runtime.commands.prior_options import add_prior_to_predict, own_labels, prior_of
from edge_runtime.commands.telling import Bars
from edge_runtime.errors import ConfigError
from edge_runtime.inference.own_labels import OwnLabels
from edge_runtime.interface.model import Model
from edge_runtime.interface.results import Prediction
from edge_runtime.wire.errors import DataError
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
    with Model.open(
        arguments.package, bank=arguments.bank, state=arguments.state, threads=arguments.threads, warn=warn
    ) as model:
        own = own_labels(arguments, model)
        if not model.learned:
            likely = "all are equally likely" if own is None else "the label prior alone decides"
            warn(
                f"warning: {model.bank_name} has not learned any label yet, so {likely};"
                " train it (edge_runtime train --out DIR, then --bank DIR), or take part in a federation"
            )
        if arguments.data:
            return _score(model, own, arguments)
        if not model.labels:
            return _continue(model, arguments)
        prior = prior_of(own)
        for texts in _texts(arguments.text):
            for prediction in model.predictions(texts, **prior):
                say(_line(prediction, arguments))
    return 0


def _continue(model: Model, arguments: argparse.Namespace) -> int:
    for text in chain.from_iterable(_texts(arguments.text)):
        if arguments.suggest:
            say(_suggestions(model.suggest(text, arguments.suggest), as_object=arguments.json))
            continue
        pieces = model.continuation(
            text, max_new_tokens=arguments.max_new_tokens, temperature=arguments.temperature, seed=arguments.seed
        )
        if arguments.json:
            say(json.dumps({"continuation": "".join(pieces)}))
        else:
            sys.stdout.write(text)
            for piece in pieces:
                sys.stdout.write(piece)
                sys.stdout.flush()
            say("")
    return 0


def _suggestions(suggestions: list[tuple[str, float]], *, as_object: bool) -> str:
    if as_object:
        return json.dumps({"next": [{"text": text, "probability": round(share, 6)} for text, share in suggestions]})
    return "\t".join(f"{text}\t{share:.4f}" for text, share in suggestions)


def _score(model: Model, own: OwnLabels | None, arguments: argparse.Namespace) -> int:
    with Bars(show=not arguments.json) as bars:
        measured = model.evaluate(csv=arguments.data, progress=bars, **columns_of(arguments), **prior_of(own))
    tell_skipped(measured.skipped, arguments.data)
    name, strength = model.bank_name, own.strength if own is not None else 0.0
    scores: dict[str, Any]
    if measured.perplexity is not None:
        scores = {"perplexity": measured.perplexity, "loss": measured.loss, "tokens": measured.tokens, "bank": name}
        plain = f"perplexity {measured.perplexity:.2f} on {measured.tokens} tokens with {name}"
    else:
        scores = {"accuracy": measured.accuracy, "examples": measured.examples, "bank": name}
        scores |= {"learned": model.learned, "label_prior": strength}
        plain = f"accuracy {measured.accuracy:.1%} on {counted(measured.examples, 'example')} with {name}"
        plain += f" and label prior {strength:g}" if strength else ""
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


def _line(prediction: Prediction, arguments: argparse.Namespace) -> str:
    likeliest = [(label, round(share, 6)) for label, share in islice(prediction.probabilities.items(), arguments.top)]
    if arguments.json:
        return json.dumps({"labels": [{"label": label, "probability": share} for label, share in likeliest]})
    return "\t".join(f"{label}\t{share:.4f}" for label, share in likeliest)
