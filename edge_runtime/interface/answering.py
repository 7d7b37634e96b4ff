"""What one bank answers: labels of texts, continuations, and how good it is at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from edge_runtime.data.windows import WindowSource
from edge_runtime.errors import ConfigError
from edge_runtime.inference.continuation import Writer
from edge_runtime.inference.predictor import Predictor
from edge_runtime.interface.local_training import unload_training
from edge_runtime.interface.results import Evaluation, Prediction, Told, begin
from edge_runtime.interface.texts import Texts
from edge_runtime.opened_package import Parts
from edge_runtime.training.budget import Budget, choose_tier
from edge_runtime.training.local import accuracy
from edge_runtime.training.perplexity import text_loss
from edge_runtime.training.sensors import short_of_memory
from edge_runtime.training.trainer import Tools
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.label_prior import label_weights
from edge_runtime.wire.tensors import Array
from edge_runtime.wire.text_lines import whole


class Answering:
    """Answers with one bank; what its methods prepare stays until ``release``. Args: parts: of the package; bank."""

    def __init__(self, parts: Parts, bank: Bank) -> None:
        self._parts, self._bank = parts, bank
        self._labels = parts.manifest.architecture.labels
        self._running = (parts.program, parts.manifest, parts.tokenizer, bank)
        self._predictor: Predictor | None = None
        self._prior: tuple[tuple[float, ...], float] = ((), 0.0)
        self._writer: Writer | None = None

    def predictions(self, texts: Iterable[str], counts: Sequence[float], prior: float) -> Iterator[Prediction]:
        """Yield the prediction of each text; arguments as for ``Model.predict``."""
        if isinstance(texts, str):
            raise DataError("predict takes a sequence of texts and one string came; put it into a list")
        predictor = self.predictor(counts, prior)
        several = [whole(text) for text in texts]
        for probabilities, _ in [predictor(several[0])] if len(several) == 1 else predictor.many(several):
            yield self._prediction(probabilities)

    def _prediction(self, probabilities: Array) -> Prediction:
        order = np.argsort(-probabilities, kind="stable")
        shares = {self._labels[row]: float(probabilities[row]) for row in order}
        label = next(iter(shares))
        return Prediction(label, shares[label], shares)

    def predictor(self, counts: Sequence[float], prior: float) -> Predictor:
        """Return what labels texts, under a label prior of these counts.

        Raises:
            ConfigError: where the package continues texts.
            DataError: for counts that do not fit, or a strength that there is not.
        """
        if not self._labels:
            raise ConfigError("this package continues texts and has no labels; use continuation or suggest")
        if prior and len(counts) != len(self._labels):
            raise DataError(f"{len(counts)} label counts came for {len(self._labels)} labels; give one for each label")
        asked = (tuple(counts), prior) if prior else ((), 0.0)
        if self._predictor is None or self._prior != asked:
            self.release()
            weights = label_weights(np.asarray(counts, np.float64), prior) if prior else None
            self._prior, self._predictor = asked, Predictor(*self._running, short_of_memory, prior=weights)
        return self._predictor

    def continuer(self) -> Writer:
        """Return what continues texts.

        Raises:
            ConfigError: where the package labels texts.
        """
        if self._labels:
            raise ConfigError("this package labels texts and continues none; use predict")
        self._writer = self._writer or Writer(*self._running, short_of_memory)
        return self._writer

    def evaluate(self, texts: Texts, counts: Sequence[float], prior: float, progress: Told) -> Evaluation:
        """Measure the bank; arguments as for ``Model.evaluate``."""
        parts = self._parts
        tier = choose_tier(parts.manifest, Budget())
        source = texts.source(parts, tier)
        advance = begin(progress, "scoring", len(source))
        if not isinstance(source, WindowSource):
            share = accuracy(self.predictor(counts, prior), source, advance)
            return Evaluation(len(source), accuracy=share, skipped=source.skipped)
        tools = Tools(parts.program, parts.manifest, parts.tokenizer, source, tier)
        measured = text_loss(tools, self._bank, source, advance)
        unload_training(parts)
        return Evaluation(
            len(source),
            perplexity=measured.perplexity,
            loss=measured.loss,
            tokens=measured.targets,
            skipped=source.skipped,
        )

    def release(self) -> None:
        """Free what was prepared."""
        if self._predictor is not None:
            self._predictor.release()
        if self._writer is not None:
            self._writer.release()
        self._predictor = self._writer = None
