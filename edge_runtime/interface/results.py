"""What the methods of a ``Model`` return and tell, as plain frozen values. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

TRAINING: Final = "training"


@dataclass(frozen=True)
class Progress:
    """How far a stage of work is.

    Args:
        stage: "counting tokens", "features", "checking", "testing", "scoring" or "training".
        done: texts, windows or steps that are done; 0 when the stage begins.
        total: of them.
        loss: of the step that was just made, while training; else None.
    """

    stage: str
    done: int
    total: int
    loss: float | None = None


Told = Callable[[Progress], None]


def nobody(_: object) -> None:
    """Tell nobody."""


def never() -> bool:
    """Go on: nobody asks for an end."""
    return False


def begin(told: Told, stage: str, total: int) -> Callable[[int], None]:
    """Tell that a stage begins; return what takes how much more of it was done."""
    done = 0
    told(Progress(stage, 0, total))

    def advance(more: int) -> None:
        nonlocal done
        done += more
        told(Progress(stage, done, total))

    return advance


@dataclass(frozen=True)
class Prediction:
    """What a model makes of one text.

    Args:
        label: the likeliest.
        probability: of it, in [0, 1].
        probabilities: of every label, likeliest first; they sum to 1.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float] = field(repr=False)


@dataclass(frozen=True)
class Evaluation:
    """What a bank is worth on labelled texts, or on text.

    Args:
        examples: texts, or windows of text.
        accuracy: share of the texts that get their own label, in [0, 1]; None for a language model.
        perplexity: of a language model; None for a classifier.
        loss: mean negative log-likelihood of a token in nats, of a language model.
        tokens: that were predicted, of a language model.
        skipped: rows of the file without a text.
    """

    examples: int
    accuracy: float | None = None
    perplexity: float | None = None
    loss: float | None = None
    tokens: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class TrainWarning:
    """What a run did not reach. Args: code: "one_label" or "no_better"; text: for people."""

    code: str
    text: str


@dataclass(frozen=True)
class TrainReport:
    """What training took and gave.

    Args:
        losses: of each optimizer step that was made.
        examples: texts (or windows) that there were to learn from.
        seconds: that the steps took in all, without features and measuring.
        step_ms: median time of a step.
        texts_per_step: mean.
        fill: share of the steps' places that held a token, in [0, 1].
        layers: adapted layers that were trained, from the top.
        adapted_layers: that the package has.
        accuracy_before, accuracy: on the held-out texts before and after; None without, and for a language model.
        perplexity_before, perplexity: of a language model, likewise.
        accuracy_label_prior: accuracy after under a label prior, by its strength.
        stopped: it ended early because it was asked to.
        warnings: where the run was worth nothing.
        tier_moves: from one program size to another while it ran, and why.
        prefix_cache: hits, misses and bytes of the cache of frozen prefixes; None where none was used.
        peak_rss_mib: most memory of this process so far.
        bank_digest: of the trained bank, in hex.
        skipped: rows of the file without a text.
    """

    losses: tuple[float, ...] = field(repr=False)
    examples: int
    seconds: float
    step_ms: float
    texts_per_step: float
    fill: float
    layers: int
    adapted_layers: int
    peak_rss_mib: float
    bank_digest: str
    accuracy_before: float | None = None
    accuracy: float | None = None
    perplexity_before: float | None = None
    perplexity: float | None = None
    accuracy_label_prior: Mapping[float, float] = field(default_factory=dict)
    stopped: bool = False
    warnings: tuple[TrainWarning, ...] = ()
    tier_moves: tuple[str, ...] = ()
    prefix_cache: Mapping[str, int] | None = None
    skipped: int = 0

    @property
    def steps(self) -> int:
        """Optimizer steps that were made."""
        return len(self.losses)

    @property
    def loss_first(self) -> float | None:
        """Mean loss of the first fifth of the steps; None without steps."""
        return _mean(self.losses[: self._fifth])

    @property
    def loss_last(self) -> float | None:
        """Mean loss of the last fifth of the steps; None without steps."""
        return _mean(self.losses[-self._fifth :])

    @property
    def _fifth(self) -> int:
        return max(1, len(self.losses) // 5)


def _mean(losses: tuple[float, ...]) -> float | None:
    return sum(losses) / len(losses) if losses else None


@dataclass(frozen=True)
class JoinReport:
    """What came of taking part in a federation.

    Args:
        device, federation: as which, and in which.
        rounds: deltas of this device that were decided on.
        version: the newest that is whole on this device, which the model now predicts with; None: none came.
        bytes_up, bytes_down: MQTT payloads.
        stopped: it ended because it was asked to; the same call goes on from there.
    """

    device: str
    federation: str
    rounds: int
    version: int | None
    bytes_up: int
    bytes_down: int
    stopped: bool
