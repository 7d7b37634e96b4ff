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
        done: number of texts, windows or steps that are done; 0 when the stage begins.
        total: how many there are in this stage.
        loss: while training, of the step that was just made; else None.
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
    """The prediction for one text.

    Args:
        label: the likeliest.
        probability: of that label, in [0, 1].
        probabilities: of every label, likeliest first; they sum to 1.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float] = field(repr=False)


@dataclass(frozen=True)
class Evaluation:
    """How good a bank is on a set of texts.

    Args:
        examples: number of texts; for a language model, of windows of text.
        accuracy: share of the texts whose label was predicted, in [0, 1]; None for a language model.
        perplexity: of a language model; None for a classifier.
        loss: mean negative log-likelihood of a token in nats, of a language model; None for a classifier.
        tokens: number of predicted tokens, of a language model.
        skipped: rows of the file that had no text.
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
    """What training cost and what it reached.

    Args:
        losses: of each optimizer step.
        examples: number of texts (or windows) to learn from.
        seconds: for all steps together, without computing features and measuring.
        step_ms: median time of a step.
        texts_per_step: mean number of texts in a step.
        fill: share of the steps' token places that held a token, in [0, 1]; the rest was padding.
        layers: how many layers, counted from the top, had their experts trained.
        adapted_layers: how many layers of the package have experts.
        accuracy_before, accuracy: on the held-out texts before and after; None without, and for a language model.
        perplexity_before, perplexity: of a language model, likewise.
        accuracy_label_prior: accuracy after under a label prior, by its strength.
        stopped: it ended early because it was asked to.
        warnings: reasons to distrust the run: texts of one label alone, or no better than before.
        tier_moves: changes from one program size to another during the run, and why.
        prefix_cache: hits, misses and bytes of the cache of what frozen layers computed; None where none was used.
        peak_rss_mib: the most memory that this process has had so far.
        bank_digest: of the trained bank, in hex.
        skipped: rows of the file that had no text.
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
        device, federation: names of this device and of the federation.
        rounds: in how many the gateway decided on a delta of this device.
        version: the newest version that is complete on this device; the model now predicts with it. None: none came.
        bytes_up, bytes_down: sent and received, as MQTT payloads.
        stopped: whether it ended because it was asked to; the same call goes on from there.
    """

    device: str
    federation: str
    rounds: int
    version: int | None
    bytes_up: int
    bytes_down: int
    stopped: bool
