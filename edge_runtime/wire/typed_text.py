"""What a tokenizer gets of a text that someone wrote (SPEC.md, "Tokens"): special tokens are text, and it has a bound.

The tokenizers library stays with those who load it; here is what device and gateway do with it alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

CHARACTERS: Final = 256
"""Code points of a text that are tokenized for each token of a sequence.

Ordinary text has 2 to 8 for a token. White space, and words too long for a vocabulary, have no bound: of such a text
the last tokens may be missing. Without it, 27 MB in one text took 28 s and 7.7 GB in every step.
"""


class Splitting(Protocol):
    """A tokenizer of the tokenizers library."""

    encode_special_tokens: bool

    def encode(self, sequence: str, *, add_special_tokens: bool) -> Any:  # noqa: ANN401 - the library's Encoding
        """Return what has the ids of a text."""
        ...

    def get_added_tokens_decoder(self) -> Mapping[int, Any]:
        """Return the added tokens by id."""
        ...


def beginning(text: str, length: int) -> str:
    """Return the part of ``text`` that its first ``length`` tokens are made of."""
    return text[: CHARACTERS * length]


def ending(text: str, length: int) -> str:
    """Return the part of ``text`` that its last ``length`` tokens are made of."""
    return text[-CHARACTERS * length :]


def take_special_tokens_as_text(tokenizer: Splitting) -> Callable[[str], str]:
    """Make ``tokenizer`` read a special token in a text as its characters; return what a text must go through first.

    A model may have a special token among its own pieces and find it in a text all the same (a Unigram model does: its
    ``</s>`` is a piece that costs nothing). A space behind its first character keeps those apart.
    """
    tokenizer.encode_special_tokens = True
    special = {token: added.content for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
    by_itself = [
        content
        for token, content in special.items()
        if len(content) > 1 and token in tokenizer.encode(content, add_special_tokens=False).ids
    ]
    if not by_itself:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(content) for content in sorted(by_itself, key=len, reverse=True)))
    return lambda text: pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
