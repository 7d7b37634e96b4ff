"""Continue a text: the next token from the program, the choice of one, and the text that tokens become.

Axes: S places of an inference method's row, V vocabulary. Each token is one call over the last S tokens at most: the
program keeps nothing between calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.inference.methods import Inference, longest
from edge_runtime.program.signature import Executor
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.manifest import Manifest
from edge_runtime.wire.tensors import Array
from edge_runtime.wire.typed_text import ending

_UNFINISHED: Final = "\ufffd"
"""What a decoder writes for bytes that are no character yet."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Args:
        temperature: 0 takes the likeliest; else one is drawn with probabilities to the power of 1 / temperature.
        seed: of the draws.
    """

    temperature: float = 0.0
    seed: int = 0


class Writer:
    """Next tokens with one bank.

    Args:
        program: of the package.
        manifest: of the package.
        tokenizer: of the package.
        bank: whose experts run; the first H of them where the program holds fewer than M.
        short: whether memory is short; then one inference method at a time is kept.
    """

    def __init__(
        self,
        program: Executor,
        manifest: Manifest,
        tokenizer: Tokenizer,
        bank: Bank,
        short: Callable[[], bool] = lambda: False,
    ) -> None:
        self._inference, self._tokenizer = Inference(program, manifest, bank, short), tokenizer
        self._end = manifest.architecture.end_token
        self._longest = longest(self._inference.methods)

    def tokens(self, prompt: str) -> list[int]:
        """Return the tokens of a prompt; of a long one those of its end, more than a prediction sees.

        Raises:
            DataError: when it has none.
        """
        tokens = self._tokenizer.tokens(ending(prompt, self._longest))
        if not tokens:
            raise DataError("the prompt has no token; give at least a word to continue")
        return tokens

    def next(self, tokens: Sequence[int]) -> Array:
        """Return the probabilities [V] of what follows the last of ``tokens`` (at least one)."""
        return self._inference.one(list(tokens)[-self._longest :])[ports.PROBABILITIES]

    def suggest(self, prompt: str, count: int) -> list[tuple[str, float]]:
        """Return the ``count`` likeliest next tokens of a prompt as text, with their probabilities."""
        shares = self.next(self.tokens(prompt))
        best = np.argsort(-shares, kind="stable")[:count]
        return [(self._tokenizer.decode([int(token)]), float(shares[token])) for token in best]

    def pieces(self, prompt: str, most: int, sampling: Sampling) -> Iterator[str]:
        """Yield the continuation of a prompt piece by piece, at most ``most`` tokens, until the end token comes."""
        tokens, random = self.tokens(prompt), np.random.default_rng(sampling.seed)
        start, shown = len(tokens), self._tokenizer.decode(tokens)
        for _ in range(most):
            token = chosen(self.next(tokens), sampling.temperature, random)
            if token == self._end:
                break
            tokens.append(token)
            text = self._tokenizer.decode(tokens)
            if text.endswith(_UNFINISHED) and len(tokens) - start < most:
                continue  # half a character; the next token ends it
            yield text[len(shown) :]
            shown = text

    def release(self) -> None:
        """Free what continuing has prepared: another method may need the memory."""
        self._inference.release()


def chosen(probabilities: Array, temperature: float, random: np.random.Generator) -> int:
    """Choose a token from probabilities [V]."""
    if temperature <= 0:
        return int(np.argmax(probabilities))
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-300)) / temperature
    shares = np.exp(logits - logits.max())
    return int(random.choice(len(shares), p=shares / shares.sum()))
