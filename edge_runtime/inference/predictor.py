"""What a bank makes of texts: probabilities of labels, and the feature that they come from.

Axes: C labels, d width, B texts of a call at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from edge_runtime.data.packed import Packed
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.inference.methods import Inference, for_many, longest
from edge_runtime.program.signature import Executor
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.label_prior import Weights, with_prior
from edge_runtime.wire.manifest import Manifest
from edge_runtime.wire.tensors import Array


class Predictor:
    """Texts to probabilities and features with one bank.

    Args:
        program: of the package.
        manifest: of the package.
        tokenizer: of the package.
        bank: whose experts run; the first H of them where the program holds fewer than M.
        short: whether memory is short; then one inference method at a time is kept.
        prior: weights of a label prior, [C]; None leaves the probabilities as they come.
    """

    def __init__(
        self,
        program: Executor,
        manifest: Manifest,
        tokenizer: Tokenizer,
        bank: Bank,
        short: Callable[[], bool] = lambda: False,
        *,
        prior: Weights | None = None,
    ) -> None:
        self._inference, self._tokenizer = Inference(program, manifest, bank, short), tokenizer
        self._longest, self._prior = longest(self._inference.methods), prior

    def __call__(self, text: str) -> tuple[Array, Array]:
        """Return probabilities [C] and the L2-normalized feature [d] of one text."""
        (tokens,) = self._tokenizer.encode([text], self._longest)
        return self.of_tokens(tokens)

    def of_tokens(self, tokens: Sequence[int]) -> tuple[Array, Array]:
        """Return probabilities [C] and feature [d] of a text's tokens."""
        outputs = self._inference.one(tokens)
        return self._moved(outputs[ports.PROBABILITIES]), outputs[ports.FEATURES]

    def many(self, texts: Iterable[str]) -> Iterator[tuple[Array, Array]]:
        """Yield probabilities [C] and feature [d] of each text, in order; a call takes as many as the packing does.

        Where each call begins and ends follows from the texts alone, so other devices compute the same.
        """
        method, waiting, rest = for_many(self._inference.methods), list[list[int]](), iter(texts)
        if method.capacity.batch == 1:
            yield from map(self, rest)
            return
        while True:
            read = list(islice(rest, method.capacity.batch - len(waiting)))
            waiting += self._tokenizer.encode(read, method.capacity.sequence) if read else []
            if not waiting:
                return
            packed = Packed.next([len(tokens) for tokens in waiting], method.capacity)
            outputs = self._inference.run(method, waiting[: len(packed)], packed)
            del waiting[: len(packed)]
            for slot in range(len(packed)):
                yield self._moved(outputs[ports.PROBABILITIES][slot]), outputs[ports.FEATURES][slot]

    def _moved(self, probabilities: Array) -> Array:
        return probabilities if self._prior is None else with_prior(probabilities, self._prior)

    def release(self) -> None:
        """Free what prediction has prepared: another method may need the memory."""
        self._inference.release()
