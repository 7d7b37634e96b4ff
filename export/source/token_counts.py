"""How many tokens texts have, by a model folder's tokenizer.json, as a device counts them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge_runtime.wire.typed_text import beginning, take_special_tokens_as_text
from export.errors import UnsupportedModelError
from export.source.tokenizer_file import FILE

_AT_ONCE: Final = 1000
"""Texts whose ids are in memory together."""


def token_counts(folder: Path, texts: Sequence[str], most: int) -> tuple[int, ...]:
    """Return the number of tokens of each text, special tokens with them; ``most`` where there are more.

    Raises:
        UnsupportedModelError: when the tokenizers library does not take the file.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - only where there are texts to count

    path = folder / FILE
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare Exception
        raise UnsupportedModelError(f"{path} is no tokenizer ({str(error)[:200]}); copy the model again") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=most)
    typed = take_special_tokens_as_text(tokenizer)
    counts: list[int] = []
    for first in range(0, len(texts), _AT_ONCE):
        read = [typed(beginning(text, most)) for text in texts[first : first + _AT_ONCE]]
        counts += [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(read)]
    return tuple(counts)
