"""What a training run is measured on, before and after, and warnings where it was worth nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from edge_runtime.data.batches import Source
from edge_runtime.data.windows import WindowSource
from edge_runtime.inference.own_labels import OwnLabels
from edge_runtime.inference.predictor import Predictor
from edge_runtime.interface.results import Told, TrainWarning, begin
from edge_runtime.training.assessment import Score, Shortfall, sample, score, shortfalls
from edge_runtime.training.perplexity import text_loss
from edge_runtime.training.trainer import Tools
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.tensors import Array
from edge_runtime.wire.text import counted

Worth = Score | float | None
"""Of a bank: labels of texts, or perplexity; None where nothing was held out for a language model."""


@dataclass(frozen=True)
class EvaluationSet:
    """What a run is measured on: everything held out, else some of the texts that it learns from.

    Args:
        tools: of the run.
        source: of what is measured; None: a language model without held-out text.
        rows: of the source, for a classifier.
        held_out: whether the source is.
        told: how far measuring is.
    """

    tools: Tools
    source: Source | None
    rows: Sequence[int]
    held_out: bool
    told: Told

    @classmethod
    def of(cls, tools: Tools, test: Source | None, told: Told) -> Self:
        """Return that of a run with this held-out data, if any."""
        if test is not None:
            return cls(tools, test, range(len(test)), held_out=True, told=told)
        learned = None if isinstance(tools.source, WindowSource) else tools.source
        return cls(tools, learned, sample(len(tools.source)), held_out=False, told=told)

    def measure(self, bank: Bank) -> Worth:
        """Return what a bank is worth."""
        if self.source is None:
            return None
        advance = begin(self.told, "testing" if self.held_out else "checking", len(self.rows))
        if isinstance(self.source, WindowSource):
            return text_loss(self.tools, bank, self.source, advance).perplexity
        predictor = Predictor(self.tools.program, self.tools.manifest, self.tools.tokenizer, bank)
        worth = score(predictor, self.source, self.rows, advance, self._own_labels)
        predictor.release()  # training needs the memory
        return worth

    @property
    def _own_labels(self) -> Array | None:
        """Label counts of what is learned from, where something else is measured; None where nothing is held out."""
        learned = self.tools.source
        if not self.held_out or isinstance(learned, WindowSource):
            return None
        return OwnLabels.of(learned, len(self.tools.manifest.architecture.labels), 0.0).counts

    def compared(self, before: Worth, after: Worth) -> dict[str, Any]:
        """Return accuracy or perplexity before and after as fields of ``TrainReport``; none where nothing was held out.

        A classifier's has the accuracy after under label priors, too, by strength.
        """
        if not self.held_out:
            return {}
        name = "perplexity" if isinstance(self.tools.source, WindowSource) else "accuracy"
        plain = [worth.accuracy if isinstance(worth, Score) else worth for worth in (before, after)]
        told: dict[str, Any] = {f"{name}_before": plain[0], name: plain[1]}
        if isinstance(after, Score):
            told["accuracy_label_prior"] = after.accuracy_with_prior
        return told

    def warnings(self, before: Worth, after: Worth, start: str) -> tuple[TrainWarning, ...]:
        """Return what to tell of a run that began with ``start``."""
        advice = "try more steps, more examples or another learning rate"
        if isinstance(before, float) and isinstance(after, float):
            text = f"perplexity on held-out text is {after:.1f} after training, {before:.1f} with {start}; {advice}"
            return (TrainWarning(Shortfall.NO_BETTER, text),) if after >= before else ()
        if not isinstance(before, Score) or not isinstance(after, Score) or self.source is None:
            return ()
        assert not isinstance(self.source, WindowSource)  # noqa: S101 - a score is of labelled texts
        labels = [int(self.source.labels[row]) for row in self.rows]
        where = f"{counted(len(labels), 'text')} {'held out' if self.held_out else 'of the data'}"
        only = self.tools.manifest.architecture.labels[after.predicted[0]]
        texts = {
            Shortfall.ONE_LABEL: f"all {where} get the label {only} after training: it tells nothing apart; {advice}",
            Shortfall.NO_BETTER: f"of {where} {after.accuracy:.1%} are right after training, {before.accuracy:.1%}"
            f" with {start}: training gained nothing; {advice}",
        }
        return tuple(TrainWarning(code, texts[code]) for code in shortfalls(before, after, labels))
