"""How many tokens texts have, counted as a device counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.data.tokenizer import Tokenizer
from export.errors import UnsupportedModelError
from export.source import backbone
from export.source.token_counts import token_counts

TEXTS = ("word1 word2", "", "word3 " * 50, "[SEP]", "\n", "w" * 200, "word1 " * 6)


def test_tokens_are_counted_up_to_a_limit(tiny: Path) -> None:
    """By hand: a vocabulary of whole words; a typed [SEP] is three tokens of text, a word too long for it is one."""
    assert token_counts(tiny, TEXTS, 9) == (2, 0, 9, 3, 0, 1, 6)
    assert token_counts(tiny, TEXTS * 300, 9) == (2, 0, 9, 3, 0, 1, 6) * 300


def test_a_device_counts_the_same() -> None:
    """MiniLM's tokenizer, [CLS] and [SEP] included."""
    info = backbone.find(None)
    texts = (*TEXTS, "wake me at half past six, please", "Größe und Maß", "你好")
    tokens = Tokenizer(info.folder / "tokenizer.json").encode(texts, 33)
    assert token_counts(info.folder, texts, 33) == tuple(map(len, tokens))


def test_a_tokenizer_that_the_library_does_not_take(tmp_path: Path) -> None:
    """The refusal names the file."""
    (tmp_path / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(UnsupportedModelError, match=r"tokenizer\.json is no tokenizer \(.*copy the model again"):
        token_counts(tmp_path, TEXTS, 9)
