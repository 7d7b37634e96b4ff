"""Text to ids, as the backbone was trained: the package's tokenizer.json through the tokenizers library.

No padding: a text is its own tokens, and stands among others in a row (``packed``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

try:
    from edge_runtime.built_in.tokenizers import Tokenizer as _Tokenizer
except ModuleNotFoundError:  # this is not the wheel for boards
    try:
        from tokenizers import Tokenizer as _Tokenizer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "tokenizers is not installed; in a checkout: pip install '.[edge,edge-source]' (a wheel for boards has it)"
        ) from error

from edge_runtime.wire.errors import DataError
from edge_runtime.wire.typed_text import beginning, take_special_tokens_as_text


class Tokenizer:
    """A package's tokenizer.

    Args:
        path: tokenizer.json.

    Raises:
        DataError: when the file is none.
    """

    def __init__(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8")
            self._tokenizer = _Tokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exception
            raise DataError(f"{path} is no tokenizer: {str(error)[:200]}; copy the package again") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._typed = take_special_tokens_as_text(self._tokenizer)
        self._length = 0

    @property
    def highest_id(self) -> int:
        """The largest id that any token has; -1 without tokens."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    def tokens(self, text: str) -> list[int]:
        """Return all ids of a text, with the special tokens that the tokenizer adds, uncut; typed ones are text."""
        if self._length:
            self._tokenizer.no_truncation()
            self._length = 0
        ids: list[int] = self._tokenizer.encode(self._typed(text)).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special tokens."""
        text: str = self._tokenizer.decode(list(ids))
        return text

    def encode(self, texts: Sequence[str], length: int) -> list[list[int]]:
        """Return the ids of each text, at most ``length``, without padding.

        Special tokens are added as the tokenizer says and survive the cut; those that stand in a text are text.
        """
        read = [self._typed(beginning(text, length)) for text in texts]
        if length != self._length:
            self._tokenizer.enable_truncation(max_length=length)
            self._length = length
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(read)]  # the same ids, without offsets
