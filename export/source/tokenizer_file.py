"""A tokenizer.json as a tree: which ids it gives, and what reads it. No library of tokenizers is loaded for that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from export.errors import UnsupportedModelError
from export.source.app_tokenizers import Tree, app_fault, kind_of
from export.source.checkpoint import refuse_pointer

FILE: Final = "tokenizer.json"


def read_tokenizer(folder: Path) -> Tree:
    """Read the tokenizer.json of a model's folder.

    Raises:
        UnsupportedModelError: when there is none, or it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise UnsupportedModelError(
            f"{folder} has no {FILE}; save it with transformers:"
            f" AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
        )
    refuse_pointer(path)
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(tree["model"]["vocab"], (dict, list)):
            raise TypeError("its vocabulary is none")  # noqa: TRY301
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnsupportedModelError(f"{path} is no tokenizer ({error}); copy the model again") from error
    whole: Tree = tree
    return whole


def check_ids(tree: Tree, rows: int, source: str) -> None:
    """Refuse a tokenizer that gives ids for which the backbone has no row: a device would fail on some texts only.

    Args:
        tree: of the tokenizer.json.
        rows: of the table of word embeddings.
        source: the model, for people.

    Raises:
        UnsupportedModelError: with both numbers.
    """
    highest, token = max(_tokens(tree), default=(-1, ""))
    if highest >= rows:
        raise UnsupportedModelError(
            f"{source}: {FILE} gives ids up to {highest} ({token!r}), and the table of word embeddings has {rows} rows;"
            " resize the model's table to its tokenizer (resize_token_embeddings), or take the tokenizer it came with"
        )


def _tokens(tree: Tree) -> list[tuple[int, str]]:
    vocabulary = tree["model"]["vocab"]
    pairs = vocabulary.items() if isinstance(vocabulary, dict) else ((one[0], at) for at, one in enumerate(vocabulary))
    added = ((one["content"], one["id"]) for one in tree.get("added_tokens") or ())
    return [(int(number), str(token)) for token, number in (*pairs, *added)]


def check_reader(tree: Tree, kinds: Sequence[str], source: str, device: str) -> None:
    """Refuse a tokenizer that a device's software does not read.

    Args:
        tree: of the tokenizer.json.
        kinds: that are read there (``app_tokenizers.KINDS``); none for all.
        source: the model, for people.
        device: for people.

    Raises:
        UnsupportedModelError: saying which part is of another kind, and what to do.
    """
    if not kinds:
        return
    try:
        fault = app_fault(tree)
    except (AttributeError, KeyError, TypeError) as error:
        raise UnsupportedModelError(f"{source}: {FILE} is no tokenizer ({error}); copy the model again") from error
    if not fault and kind_of(tree) not in kinds:
        fault = f"its model is {tree['model']['type']}, of the kind {kind_of(tree)}"
    if fault:
        raise UnsupportedModelError(
            f"{source}: the app on {device} reads tokenizers of the kind {', '.join(kinds)} with the parts that"
            f" docs/android.md lists, and {fault}; take a model with such a tokenizer, or a device that runs"
            " edge_runtime, as raspberrypi5 and linux-x86_64 do"
        )
