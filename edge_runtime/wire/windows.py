"""How texts become examples of a language model: one stream of tokens, cut into windows (SPEC.md, "causal-lm").

Axes: S sequence length. A window has S + 1 tokens: S inputs, and the S that follow each of them as targets; the last
token of a window is the first input of the next, so every token but the stream's first is a target once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

PIECE: Final = 16_384
"""Code points of a text that are tokenized together; a longer one counts as several texts."""
_SPACE: Final = " \t\r\n"


def pieces(text: str) -> Iterator[str]:
    """Yield the texts that a text counts as: cut behind the last white space that PIECE code points hold, if any.

    Without this, one long text would be tokenized whole for each of its windows.
    """
    start = 0
    while len(text) - start > PIECE:
        space = max(text.rfind(sign, start, start + PIECE) for sign in _SPACE)
        end = space + 1 if space >= start else start + PIECE
        if piece := text[start:end].strip():
            yield piece
        start = end
    if piece := text[start:].strip():
        yield piece


def windows(texts: Iterable[Sequence[int]], end_token: int, length: int) -> Iterator[list[int]]:
    """Yield the windows of a stream; the last one may be shorter, and has at least two tokens.

    Args:
        texts: token ids of each text, in order.
        end_token: put after each text; -1: nothing is.
        length: S.
    """
    held: list[int] = []
    for tokens in texts:
        held.extend(tokens)
        if end_token >= 0 and tokens:
            held.append(end_token)
        while len(held) > length:
            yield held[: length + 1]
            del held[:length]
    if len(held) > 1:
        yield held
