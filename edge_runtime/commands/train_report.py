"""What `train` tells of a run: figures, the sentence for people, and warnings where it was worth nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from edge_runtime.data.batches import Source
from edge_runtime.data.windows import WindowSource
from edge_runtime.federation.report import bar
from edge_runtime.inference.own_labels import OwnLabels
from edge_runtime.inference.predictor import Predictor
from edge_runtime.program.memory import peak_rss_mib
from edge_runtime.training.assessment import Score, Shortfall, sample, score, shortfalls
from edge_runtime.training.local import Trained
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
    """

    tools: Tools
    source: Source | None
    rows: Sequence[int]
    held_out: bool

    @classmethod
    def of(cls, tools: Tools, test: Source | None) -> Self:
        """Return that of a run with this held-out data, if any."""
        if test is not None:
            return cls(tools, test, range(len(test)), held_out=True)
        learned = None if isinstance(tools.source, WindowSource) else tools.source
        return cls(tools, learned, sample(len(tools.source)), held_out=False)

    def measure(self, bank: Bank) -> Worth:
        """Return what a bank is worth."""
        if self.source is None:
            return None
        with bar("testing" if self.held_out else "checking", len(self.rows)) as advance:
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
        """Return accuracy or perplexity before and after; None where nothing was held out.

        A classifier's has the accuracy after under label priors, too, by strength.
        """
        name = "perplexity" if isinstance(self.tools.source, WindowSource) else "accuracy"
        if not self.held_out:
            return {f"{name}_before": None, name: None}
        plain = [worth.accuracy if isinstance(worth, Score) else worth for worth in (before, after)]
        told: dict[str, Any] = {f"{name}_before": plain[0], name: plain[1]}
        if isinstance(after, Score):
            told["accuracy_label_prior"] = {f"{key:g}": share for key, share in after.accuracy_with_prior.items()}
        return told

    def warnings(self, before: Worth, after: Worth, start: str) -> list[dict[str, str]]:
        """Return code and text of each thing to tell of a run that began with ``start``."""
        advice = "try more steps, more examples or another --lr"
        if isinstance(before, float) and isinstance(after, float):
            text = f"perplexity on --test is {after:.1f} after training, {before:.1f} with {start}; {advice}"
            return [{"code": Shortfall.NO_BETTER, "text": text}] if after >= before else []
        if not isinstance(before, Score) or not isinstance(after, Score) or self.source is None:
            return []
        assert not isinstance(self.source, WindowSource)  # noqa: S101 - a score is of labelled texts
        labels = [int(self.source.labels[row]) for row in self.rows]
        where = f"{counted(len(labels), 'text')} of {'--test' if self.held_out else '--data'}"
        only = self.tools.manifest.architecture.labels[after.predicted[0]]
        texts = {
            Shortfall.ONE_LABEL: f"all {where} get the label {only} after training: it tells nothing apart; {advice}",
            Shortfall.NO_BETTER: f"of {where} {after.accuracy:.1%} are right after training, {before.accuracy:.1%}"
            f" with {start}: training gained nothing; {advice}",
        }
        return [{"code": code, "text": texts[code]} for code in shortfalls(before, after, labels)]


def figures(trained: Trained, examples: int) -> dict[str, Any]:
    """Return what a run took and gave, by name."""
    fifth = max(1, len(trained.losses) // 5)
    return {
        "steps": len(trained.losses),
        "examples": examples,
        "loss_first": round(float(np.mean(trained.losses[:fifth])), 4) if trained.losses else None,
        "loss_last": round(float(np.mean(trained.losses[-fifth:])), 4) if trained.losses else None,
        "step_ms": round(trained.step_ms, 2),
        "tier_moves": list(trained.moves),
        **trained.fill.figures(),
        "peak_rss_mib": round(peak_rss_mib(), 1),
        "bank_digest": trained.bank.digest().hex(),
    }


def sentence(report: dict[str, Any], out: Path | None) -> str:
    """Return the figures in one line for people."""
    text = f"{counted(report['steps'], 'step')} on {counted(report['examples'], 'example')}"
    if report["layers"] < report["adapted_layers"]:
        text += f" in the top {report['layers']} of {report['adapted_layers']} layers"
    text += f", {report['step_ms']:.0f} ms a step"
    text += f" of {report['texts_per_step']:.1f} texts ({report['fill']:.0%} of its places filled)"
    if report["steps"]:
        text += f", loss {report['loss_first']:.3f} -> {report['loss_last']:.3f}"
    if report.get("perplexity") is not None:
        text += f", perplexity {report['perplexity_before']:.1f} -> {report['perplexity']:.1f}"
    if report.get("accuracy") is not None:
        text += f", accuracy {report['accuracy_before']:.1%} -> {report['accuracy']:.1%}"
        priors = report["accuracy_label_prior"].items()
        text += f" (label prior {', '.join(f'{strength}: {share:.1%}' for strength, share in priors)})"
    prefixes = report["prefix_cache"]
    if prefixes is not None:
        text += f"; prefixes: {prefixes['hits']} found, {prefixes['misses']} computed, {prefixes['bytes'] / 1e6:.1f} MB"
    return text + (f"; bank in {out}" if out else "; not kept (no --out)")
