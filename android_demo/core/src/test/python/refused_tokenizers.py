"""Parts of a tokenizer.json that the app does not read: what export says of each; Kotlin refuses each, too."""

from __future__ import annotations

from typing import Any, Final

BASE: Final[dict[str, Any]] = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}}
"""A tokenizer that is read; each of REFUSED is put in place of a part."""

_UNIGRAM: Final = {"type": "Unigram", "vocab": [["a", -1.0], ["b", -2.0]]}
_FIRST: Final = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}
_TEMPLATE: Final = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"a": {"id": "a", "ids": [0]}},
}


def _normalizer(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"normalizer": {"type": "Sequence", "normalizers": list(parts)}}


def _split(regex: str) -> dict[str, Any]:
    pattern = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [pattern]}}


REFUSED: Final[tuple[tuple[dict[str, Any], str], ...]] = (
    ({"model": {**BASE["model"], "type": "WordLevel"}}, "its model is WordLevel, expected WordPiece, BPE, Unigram"),
    ({"model": {**BASE["model"], "dropout": 0.1}}, "its model has dropout 0.1"),
    ({"model": {**BASE["model"], "end_of_word_suffix": "</w>"}}, "its model has end_of_word_suffix '</w>'"),
    ({"model": {**BASE["model"], "continuing_subword_prefix": "#"}}, "its model has continuing_subword_prefix '#'"),
    ({"model": _UNIGRAM}, "its model has no unk_id"),
    ({"normalizer": {"type": "Nmt"}}, "its normalizer is Nmt"),
    (_normalizer({"type": "NFC"}, {"type": "ByteLevel"}), "its normalizer is ByteLevel"),
    ({"pre_tokenizer": {"type": "Punctuation"}}, "its pre_tokenizer is Punctuation"),
    ({"pre_tokenizer": {"type": "Whitespace"}}, "its pre_tokenizer is Whitespace"),
    (_split(r"\p{Han}+"), r"of its pre_tokenizer the pattern '\\p{Han}+'"),
    (_split(r"\w+"), r"of its pre_tokenizer the pattern '\\w+'"),
    (_split("a++"), "of its pre_tokenizer the pattern 'a++'"),
    (_split("(?:ab)+"), "of its pre_tokenizer the pattern '(?:ab)+'"),
    (_split("[a-c&&b]"), "of its pre_tokenizer the pattern '[a-c&&b]'"),
    (_split("(?<=a)b"), "of its pre_tokenizer the pattern '(?<=a)b'"),
    (_split("(?i:[ab])"), "of its pre_tokenizer the pattern '(?i:[ab])'"),
    (_normalizer({"type": "Replace", "pattern": {"Regex": "^a"}, "content": ""}), "of its normalizer the pattern '^a'"),
    ({"post_processor": {"type": "Other"}}, "its post_processor is Other"),
    (
        {"post_processor": {"type": "Sequence", "processors": [_TEMPLATE, _TEMPLATE]}},
        "its post_processor adds tokens twice",
    ),
    ({"added_tokens": [{"id": 5, "content": "<x>", "lstrip": True}]}, "its added token '<x>' is lstrip"),
    ({"added_tokens": [{"id": 5, "content": "<x>", "normalized": True}]}, "its added token '<x>' is normalized"),
    (
        {"pre_tokenizer": _FIRST, **_normalizer({"type": "Strip", "strip_left": True, "strip_right": True})},
        "its Metaspace marks the beginning of a text behind Strip",
    ),
    (
        {"pre_tokenizer": _FIRST, **_normalizer({"type": "Replace", "pattern": {"String": "``"}, "content": '"'})},
        "its Metaspace marks the beginning of a text behind Replace",
    ),
    (
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, _FIRST]}},
        "its Metaspace marks the beginning of a text behind a pre_tokenizer",
    ),
)
