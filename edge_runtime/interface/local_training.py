"""Training on this machine's texts alone: what comes before the steps, the steps, and what is told of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from edge_runtime.data.lengths import lengths_of
from edge_runtime.data.packed import tier_capacity
from edge_runtime.data.prefix_cache import PrefixCache
from edge_runtime.data.windows import WindowSource
from edge_runtime.errors import ConfigError
from edge_runtime.inference.class_sums import class_sums
from edge_runtime.interface.arguments import check_amounts, check_choice
from edge_runtime.interface.evaluation_set import EvaluationSet, Worth
from edge_runtime.interface.results import TRAINING, Progress, Told, TrainReport, begin
from edge_runtime.interface.texts import Texts, suited
from edge_runtime.opened_package import Parts
from edge_runtime.program.memory import peak_rss_mib
from edge_runtime.training.budget import Budget
from edge_runtime.training.local import Recipe, Trained, steps_of_epochs, train
from edge_runtime.training.trainer import Tools
from edge_runtime.training.watch import Watch
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import class_mean_head

Head = Literal["auto", "bank", "class-means"]
PACKAGES_OWN: Final = "the package's bank"


@dataclass(frozen=True)
class Course:
    """How to train; every field is as ``Model.train`` has it."""

    texts: Texts
    test: Path | None
    epochs: float
    steps: int | None
    learning_rate: float
    shared_learning_rate: float | None
    head_learning_rate: float
    final_share: float
    weight_decay: float
    experts: tuple[int, ...]
    rotate_every: int
    head: Head
    seed: int
    tier: str


def check_course(course: Course) -> None:
    """Refuse numbers that cannot be.

    Raises:
        ConfigError: naming the first.
    """
    if course.steps is not None and course.steps < 1:
        raise ConfigError(f"steps: {course.steps} came, expected 1 or more")
    check_choice("head", course.head, get_args(Head))
    names = ("epochs", "learning_rate", "shared_learning_rate", "head_learning_rate", "final_share", "weight_decay")
    check_amounts(**{name: getattr(course, name) for name in (*names, "rotate_every")})


class LocalRun:
    """One run of training: ``prepare``, ``train``, ``report``.

    Args:
        parts: of the package.
        course: how to train.
        cache: opens the cache of frozen prefixes, where the package uses one.
        rounding: of what is kept there.
        progress: told how far each stage is.

    Raises:
        ConfigError, DataError, BudgetError: when it cannot begin.
    """

    def __init__(
        self, parts: Parts, course: Course, cache: Callable[[], PrefixCache], rounding: str, progress: Told
    ) -> None:
        self._parts, self._course, self._progress = parts, course, progress
        check_course(course)
        watch = Watch.of(parts.manifest, Budget(), course.tier)
        source = course.texts.source(parts, watch.largest)
        self._watch = watch = suited(watch, parts, source)
        self._tier, self._source = watch.largest, source
        test = Texts(file=course.test, columns=course.texts.columns) if course.test is not None else None
        self._recipe = self._planned()
        self._cache = cache() if watch.uses_prefixes(self._tier.layers) else None
        self._tools = Tools(
            parts.program, parts.manifest, parts.tokenizer, source, self._tier, cache=self._cache, rounding=rounding
        )
        held_out = test.source(parts, self._tier) if test is not None else None
        self._evaluation = EvaluationSet.of(self._tools, held_out, progress)
        self._trained: Trained | None = None
        self._seconds = 0.0

    def _planned(self) -> Recipe:
        course, architecture = self._course, self._parts.manifest.architecture
        usual = range(architecture.experts if course.rotate_every else self._tier.trained_slots)
        shared = course.shared_learning_rate
        return Recipe(
            steps=self._steps(),
            learning_rate=course.learning_rate,
            shared_learning_rate=course.learning_rate if shared is None else shared,
            head_learning_rate=course.head_learning_rate,
            final=course.final_share,
            weight_decay=course.weight_decay,
            experts=course.experts or tuple(usual),
            rotate_every=course.rotate_every,
            seed=course.seed,
        )

    def _steps(self) -> int:
        """Return the steps to make: of epochs, as the texts pack, since no two steps are alike."""
        course, source = self._course, self._source
        if course.steps is not None:
            return course.steps
        advance = begin(self._progress, "counting tokens", len(source))
        counts = lengths_of(source, len(source), self._parts.tokenizer, self._tier.seq_len, advance).tolist()
        capacity = tier_capacity(self._tier)
        return steps_of_epochs(course.epochs, counts, capacity, seed=course.seed, rotate_every=course.rotate_every)

    def prepare(self, bank: Bank, name: str) -> Worth:
        """Give the bank its head, and return what it is worth before training.

        Args:
            bank: to start from.
            name: of it, for people.

        Raises:
            ConfigError: for a head of class means that a language model has not, or a head that could never learn.
        """
        self._bank, self._start = self._headed(bank, name)
        return self._evaluation.measure(self._bank)

    def _headed(self, bank: Bank, name: str) -> tuple[Bank, str]:
        """Return the bank that training starts from, and what that is, for people."""
        course, source, parts = self._course, self._source, self._parts
        if isinstance(source, WindowSource):
            if course.head == "class-means":
                raise ConfigError(
                    "head class-means: this package continues texts, it has no head to start; leave it out"
                )
            return bank, name
        if course.head == "bank" or (course.head == "auto" and bank.learned):
            if not bank.learned and not course.head_learning_rate:
                raise ConfigError(
                    f"head bank: {name} has not learned any label yet, and without a learning rate its head stays as it"
                    " is; leave head out to start from class means"
                )
            return bank, name
        advance = begin(self._progress, "features", len(source))
        sums = class_sums(parts.program, parts.manifest, parts.tokenizer, source, advance)
        blocks = class_mean_head(sums, parts.manifest.architecture.logit_scale)
        return bank.replace(blocks), "class means alone" if name == PACKAGES_OWN else f"class means on {name}"

    def train(self, stopped: Callable[[], bool]) -> Bank:
        """Make the steps; return the bank that was reached. Args: stopped: asked between steps."""
        steps = self._recipe.steps
        self._progress(Progress(TRAINING, 0, steps))
        done = 0

        def made(loss: float) -> None:
            nonlocal done
            done += 1
            self._progress(Progress(TRAINING, done, steps, loss))

        began = time.perf_counter()
        self._trained = train(self._tools, self._bank, self._recipe, made, stopped, watch=self._watch)
        self._seconds = time.perf_counter() - began
        return self._trained.bank

    def report(self, before: Worth) -> TrainReport:
        """Measure what was reached and tell of the run. Args: before: what ``prepare`` returned."""
        trained, cache, evaluation = self._trained, self._cache, self._evaluation
        assert trained is not None  # noqa: S101 - train came before
        after = evaluation.measure(trained.bank)
        return TrainReport(
            losses=trained.losses,
            examples=len(self._source),
            seconds=self._seconds,
            step_ms=trained.step_ms,
            texts_per_step=trained.fill.texts_per_step,
            fill=trained.fill.share,
            layers=self._tier.layers,
            adapted_layers=len(self._parts.manifest.architecture.adapted_layers),
            peak_rss_mib=peak_rss_mib(),
            bank_digest=trained.bank.digest().hex(),
            stopped=len(trained.losses) < self._recipe.steps,
            warnings=evaluation.warnings(before, after, self._start) if trained.losses else (),
            tier_moves=trained.moves,
            prefix_cache=asdict(cache.use) if cache is not None else None,
            skipped=self._source.skipped,
            **evaluation.compared(before, after),
        )


def unload_training(parts: Parts) -> None:
    """Free what training has prepared: prediction may need the memory."""
    for tier in parts.manifest.tiers:
        for method in (tier.method, tier.apply_method, *tier.trunk_methods):
            if method:
                parts.program.unload(method)
