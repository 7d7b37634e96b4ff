"""A tokenizer.json as a tree: which ids it gives, and what reads it. No library of tokenizers is loaded for that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from export.errors import UnsupportedModelError
from export.source.checkpoint import refuse_pointer

FILE: Final = "tokenizer.json"
WORDPIECE: Final = "wordpiece"
KINDS: Final = (WORDPIECE,)
"""Kinds of tokenizers by which a device profile can say what is read there."""
WORDPIECE_PARTS: Final = {
    "normalizer": "BertNormalizer",
    "pre_tokenizer": "BertPreTokenizer",
    "model": "WordPiece",
    "post_processor": "TemplateProcessing",
}
ADDED_FLAGS: Final = ("single_word", "lstrip", "rstrip", "normalized")
Tree = Mapping[str, Any]


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
        kinds: that are read there; none for all.
        source: the model, for people.
        device: for people.

    Raises:
        UnsupportedModelError: saying which part is of another kind, and what to do.
    """
    fault = wordpiece_fault(tree)
    if kinds and fault:
        raise UnsupportedModelError(
            f"{source}: the app on {device} reads tokenizers of the kind {', '.join(kinds)} only, and {fault}; take a"
            " BERT with such a tokenizer, or a device that runs edge_runtime, as raspberrypi5 and linux-x86_64 do"
        )


def wordpiece_fault(tree: Tree) -> str:
    """Return why a tokenizer is not of the kind ``wordpiece``, "" when it is.

    The kind is what the Kotlin device reads (``Tokenizer.kt``): BERT's normalizer and words, WordPiece, a template, and
    added tokens that are found as they stand.
    """
    for part, kind in WORDPIECE_PARTS.items():
        part_type = (tree.get(part) or {}).get("type")
        if part_type != kind:
            return f"its {part} is {part_type or 'missing'}, expected {kind}"
    for token in tree.get("added_tokens") or ():
        flags = [flag for flag in ADDED_FLAGS if token.get(flag)]
        if flags:
            return f"its added token {token.get('content')!r} is {', '.join(flags)}"
    return ""
