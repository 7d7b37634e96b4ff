"""What the Android app reads of a tokenizer.json, so that a phone gets no tokenizer that its software refuses.

The rules are those of the Kotlin device (``android_demo/core``, package ``tokenizer``): each part is one that it knows.
Its tests hold the two together: tokenizers of every family that it reads have no fault here, and each that has one
there is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

Tree = Mapping[str, Any]

MODELS: Final[Mapping[str, str]] = {"WordPiece": "wordpiece", "BPE": "bpe", "Unigram": "unigram"}
"""Kinds of tokenizers, by which a device profile says what is read there, by the name that a tokenizer.json has."""
KINDS: Final = tuple(MODELS.values())
_NORMALIZERS: Final = (
    "BertNormalizer", "Precompiled", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip", "Prepend",
    "Replace",
)  # fmt: skip
_PRE_TOKENIZERS: Final = ("BertPreTokenizer", "ByteLevel", "Metaspace", "WhitespaceSplit", "Split", "Digits")
_ADDING: Final = ("TemplateProcessing", "BertProcessing", "RobertaProcessing")
_ADDED_FLAGS: Final = ("single_word", "lstrip", "rstrip", "normalized")

_CATEGORY: Final = r"\{(?:[LMNZPS]|L[ultmo]|M[nec]|N[dlo]|Z[slp]|P[dsecoif]|S[mcko])\}"
_ESCAPE: Final = rf"\\(?:[sSnrt]|[pP]{_CATEGORY}|[^A-Za-z0-9])"
_ITEM: Final = rf"(?:{_ESCAPE}|[^\\\[\]])"
_CLASS: Final = rf"\[\^?(?:(?!&&){_ITEM})+\]"
_CHARACTERS: Final = rf"(?:{_CLASS}|{_ESCAPE}|[^\\\[\](){{}}*+?.^$|])(?:[?*+]|\{{\d{{1,3}}(?:,\d{{0,3}})?\}})?"
_ANY_CASE: Final = r"\(\?i:[ -'/-Z_-z,\-|]*\)\??"
_PATTERN: Final = re.compile(rf"(?:(?:{_CHARACTERS}|{_ANY_CASE}|\)\??)(?![?*+{{])|\(\?[:!=]|\|)+")
"""The part of Oniguruma's language that the app's ``PatternReader`` reads, as far as single signs go."""


def app_fault(tree: Tree) -> str:
    """Return why the app does not read a tokenizer, "" when it does.

    Args:
        tree: of the tokenizer.json.
    """
    return next(_faults(tree), "")


def kind_of(tree: Tree) -> str:
    """Return the kind of a tokenizer, "" for one that the app does not know."""
    return MODELS.get(str(tree["model"].get("type")), "")


def _faults(tree: Tree) -> Iterator[str]:
    yield from _model(tree["model"])
    normalizers = _parts(tree, "normalizer", "normalizers")
    pre_tokenizers = _parts(tree, "pre_tokenizer", "pretokenizers")
    processors = _parts(tree, "post_processor", "processors")
    for name, parts, known in (
        ("normalizer", normalizers, _NORMALIZERS),
        ("pre_tokenizer", pre_tokenizers, _PRE_TOKENIZERS),
        ("post_processor", processors, (*_ADDING, "ByteLevel")),
    ):
        yield from (f"its {name} is {part.get('type')}" for part in parts if part.get("type") not in known)
        yield from (f"of its {name} the pattern {regex!r}" for regex in map(_regex, parts) if not _readable(regex))
    if sum(part["type"] in _ADDING for part in processors) > 1:
        yield "its post_processor adds tokens twice"
    yield from _beginning(normalizers, pre_tokenizers)
    for token in tree.get("added_tokens") or ():
        flags = [flag for flag in _ADDED_FLAGS if token.get(flag)]
        if flags and not token.get("special"):
            yield f"its added token {token.get('content')!r} is {', '.join(flags)}"


def _model(model: Tree) -> Iterator[str]:
    if model.get("type") not in MODELS:
        yield f"its model is {model.get('type')}, expected {', '.join(MODELS)}"
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get("type") == "BPE" and model.get(name) not in (None, ""):
            yield f"its model has {name} {model[name]!r}"
    if model.get("type") == "Unigram" and model.get("unk_id") is None:
        yield "its model has no unk_id"


def _parts(tree: Tree, key: str, inner: str) -> list[Tree]:
    """Return a part of a tokenizer, or the parts of which it is a sequence."""

    def flat(part: Tree) -> list[Tree]:
        return (
            [one for each in part.get(inner) or () for one in flat(each)] if part.get("type") == "Sequence" else [part]
        )

    return flat(tree[key]) if tree.get(key) else []


def _regex(part: Tree) -> str | None:
    pattern = part.get("pattern")
    return pattern.get("Regex") if isinstance(pattern, dict) else None


def _readable(regex: str | None) -> bool:
    return regex is None or _PATTERN.fullmatch(regex) is not None


def _beginning(normalizers: list[Tree], pre_tokenizers: list[Tree]) -> Iterator[str]:
    """Refuse what may drop a text's first characters before a Metaspace that asks whether a piece begins the text."""
    for at, part in enumerate(pre_tokenizers):
        if part.get("prepend_scheme") == "first":
            behind = [one["type"] for one in normalizers if _moves(one, str(part.get("replacement")))]
            if at or behind:
                yield f"its Metaspace marks the beginning of a text behind {(*behind, 'a pre_tokenizer')[0]}"


def _moves(normalizer: Tree, mark: str) -> bool:
    match normalizer["type"]:
        case "BertNormalizer" | "StripAccents":
            return True
        case "Strip":
            return bool(normalizer.get("strip_left", True))
        case "Replace":
            text = normalizer["pattern"].get("String")
            return not str(normalizer["content"]).startswith(mark) and (text is None or len(text) > 1)
        case _:
            return False
