"""``edge_runtime predict``: labels and probabilities for texts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_runtime.commands.common import Subcommands, add_bank, add_command, add_threads, load_bank, positive, say
from edge_runtime.errors import ConfigError, DataError
from edge_runtime.local import accuracy
from edge_runtime.parts import Parts
from edge_runtime.report import bar
from edge_runtime.statistics import Predictor
from edge_runtime.wire.tensors import Array

EXAMPLES = """\
  edge_runtime predict --package packages/pixel8 --bank my-bank "wake me at seven"
  cat texts.txt | edge_runtime predict --package packages/pixel8 --state state --top 3 --json
  edge_runtime predict --package packages/pixel8 --bank v12 --data held-out.csv
"""


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "predict",
        "label texts",
        "Labels the text given, or every line of standard input, or scores a file of examples.",
        EXAMPLES,
    )
    parser.add_argument("text", nargs="*", help="one text (words are joined); without it, lines of standard input")
    parser.add_argument("--data", type=Path, metavar="FILE", help="examples to score: prints the accuracy")
    parser.add_argument("--top", type=positive, default=1, metavar="N", help="likeliest labels to show (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
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
        predictor = Predictor(parts.program, parts.manifest, parts.tokenizer, bank)
        if arguments.data:
            return _score(parts, predictor, arguments, name)
        labels = parts.manifest.architecture.labels
        for text in _texts(arguments.text):
            say(_line(predictor(text)[0], labels, arguments))
    return 0


def _score(parts: Parts, predictor: Predictor, arguments: argparse.Namespace, name: str) -> int:
    source = parts.source(arguments.data)
    with bar("scoring", len(source), show=not arguments.json) as advance:
        share = accuracy(predictor, source, advance)
    found = {"accuracy": share, "examples": len(source), "bank": name}
    say(json.dumps(found) if arguments.json else f"accuracy {share:.1%} on {len(source)} examples with {name}")
    return 0


def _texts(words: list[str]) -> Iterator[str]:
    if words:
        yield " ".join(words)
        return
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"line {number} of standard input is not UTF-8") from error


def _line(probabilities: Array, labels: tuple[str, ...], arguments: argparse.Namespace) -> str:
    best = np.argsort(-probabilities, kind="stable")[: arguments.top]
    found = [(labels[row], round(float(probabilities[row]), 6)) for row in best]
    if arguments.json:
        return json.dumps({"labels": [{"label": label, "probability": share} for label, share in found]})
    return "\t".join(f"{label}\t{share:.4f}" for label, share in found)
